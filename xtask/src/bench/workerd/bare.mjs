// The smallest Worker that forwards requests. The time that it adds is workerd's own.
export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    const { method, headers, body } = request;
    return fetch(new Request(env.UPSTREAM_URL + pathname + search, { method, headers, body, redirect: "manual" }));
  },
};
