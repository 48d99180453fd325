// The back end of the page: it has the API key, and mints a voucher for each visitor that may prove.

import http from "node:http";

import { createProver } from "@edgeprove/client";

const { EDGEPROVE_URL, EDGEPROVE_CLIENT_KEY, PAGE_ORIGIN } = process.env;
const prover = createProver({ url: EDGEPROVE_URL, apiKey: EDGEPROVE_CLIENT_KEY, mode: "remote" });

const server = http.createServer(async (request, response) => {
  // Here the back end decides whether this visitor may prove: by its session, for example.
  if (request.method !== "POST" || request.url !== "/voucher") return response.writeHead(404).end();
  try {
    const { voucher } = await prover.vouchers.create({ circuit: "range_check", uses: 3, expires: 300, origin: PAGE_ORIGIN });
    response.writeHead(200, { "content-type": "text/plain", "cache-control": "no-store" }).end(voucher);
  } catch (error) {
    response.writeHead(502, { "content-type": "text/plain" }).end(error.message);
  }
});
server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log(`listening on port ${server.address().port}`));
