// Waits for conditions, with a bound that a busy machine does not reach.

const LIMIT_MS = 120_000;

/** Waits until `look` returns something truthy, and returns it. What `look` throws is thrown at once. */
export async function eventually(what, look) {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`waited too long: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** A value that is set later. */
export function later() {
  let settle;
  const value = new Promise((resolve) => {
    settle = resolve;
  });
  return { value, settle };
}
