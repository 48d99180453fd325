// API keys for tests.

/** The text of a keys file: the key of `alice` is `alice-key`. `roles` are by name. */
export async function keysFile(roles) {
  const tables = Object.entries(roles).map(async ([name, role]) => {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`${name}-key`));
    return `[keys.${name}]\nsha256 = ["${Buffer.from(digest).toString('hex')}"]\nrole = "${role}"\n`;
  });
  return (await Promise.all(tables)).join('\n');
}
