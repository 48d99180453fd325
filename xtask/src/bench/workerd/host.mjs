// Runs the edge, as it is deployed, and the bare Worker in one workerd. wrangler would also attach a debugger, which
// receives an event for every fetch and takes several times the time of the edge.
//
// First argument: a JSON object with `wrangler` (the parsed wrangler.toml), `built` (the folder of the edge's module)
// and `upstream` (the server's URL). Prints the two URLs as a line of JSON, and runs until its stdin ends.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const { wrangler, built, upstream } = JSON.parse(process.argv[2]);
// The miniflare that wrangler depends on.
const ofWrangler = createRequire(createRequire(path.join(built, "../package.json")).resolve("wrangler"));
const { Miniflare } = ofWrangler("miniflare");

const common = {
  compatibilityDate: wrangler.compatibility_date,
  bindings: { ...wrangler.vars, UPSTREAM_URL: upstream },
  unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
};
const objects = wrangler.durable_objects.bindings.map(({ name, class_name: className }) => [
  name,
  { className, useSQLite: true },
]);
const workers = [
  {
    ...common,
    name: "edge",
    compatibilityFlags: wrangler.compatibility_flags,
    durableObjects: Object.fromEntries(objects),
    ratelimits: Object.fromEntries(wrangler.ratelimits.map(({ name, simple }) => [name, { simple }])),
    modulesRoot: built,
    modules: [
      { type: "ESModule", path: path.join(built, "index.js") },
      { type: "CompiledWasm", path: path.join(built, "index_bg.wasm") },
    ],
  },
  { ...common, name: "bare", modules: true, script: readFileSync(new URL("bare.mjs", import.meta.url), "utf8") },
];

const miniflare = new Miniflare({ workers, handleRuntimeStdio: (stdout) => stdout.resume() });
await miniflare.ready;
const url = async ({ name }) => [name, (await miniflare.unsafeGetDirectURL(name)).origin];
console.log(JSON.stringify(Object.fromEntries(await Promise.all(workers.map(url)))));
process.stdin.on("end", () => miniflare.dispose()).resume();
