// Writes the sample inputs that are too long to write by hand: the Prover.toml of merkle_membership and of maze_walk.
// It is deterministic, so a second run changes nothing. The hashes are computed by bb.js, independently of the
// circuits' sponge.

import { writeFile } from 'node:fs/promises';

import { BarretenbergSync } from '@aztec/bb.js';

const bb = await BarretenbergSync.initSingleton();

const toBytes = (n) => Buffer.from(n.toString(16).padStart(64, '0'), 'hex');
const toHex = (n) => `0x${n.toString(16).padStart(64, '0')}`;
const poseidon2 = (...inputs) =>
  BigInt(`0x${Buffer.from(bb.poseidon2Hash({ inputs: inputs.map(toBytes) }).hash).toString('hex')}`);

/** A TOML array with `perLine` elements in each line. */
function array(values, perLine = 1) {
  const starts = Array.from({ length: Math.ceil(values.length / perLine) }, (_, line) => line * perLine);
  return `[\n${starts.map((i) => `    ${values.slice(i, i + perLine).join(', ')},\n`).join('')}]`;
}

/** Four members, far from each other, in a tree whose other leaves are all zero. */
function merkleMembership() {
  const depth = 32;
  const scope = 20261121n;
  const members = [3n, 1_000_003n, 2_147_483_648n, 4_294_967_295n].map((index, i) => {
    const secret = poseidon2(0xed6en, BigInt(i));
    return { index, secret, leaf: poseidon2(secret, 0n), isRight: [], siblings: [] };
  });

  // Only nodes with a member below them are in the map. Any other node is the root of an empty subtree.
  let level = new Map(members.map(({ index, leaf }) => [index, leaf]));
  let empty = 0n;
  for (let height = 0; height < depth; height++) {
    const node = (index) => level.get(index) ?? empty;
    for (const { index, isRight, siblings } of members) {
      const ancestor = index >> BigInt(height);
      isRight.push((ancestor & 1n) === 1n);
      siblings.push(node(ancestor ^ 1n));
    }
    const parents = new Set([...level.keys()].map((index) => index >> 1n));
    level = new Map([...parents].map((index) => [index, poseidon2(node(index << 1n), node((index << 1n) | 1n))]));
    empty = poseidon2(empty, empty);
  }

  const head = `# Four members of a group of up to 2^32 approve matter ${scope}. Written by samples.mjs.
root = "${toHex(level.get(0n))}"
scope = "${scope}"
nullifiers = ${array(members.map(({ secret }) => `"${toHex(poseidon2(secret, scope))}"`))}
`;
  const member = ({ secret, isRight, siblings }) => `
[[members]]
secret = "${toHex(secret)}"
is_right = ${array(isRight, 16)}
siblings = ${array(siblings.map((s) => `"${toHex(s)}"`))}
`;
  return head + members.map(member).join('');
}

/** A maze with exactly one path between any two open cells, and the path from corner to corner. */
function mazeWalk() {
  const side = 31;
  const moves = 680;
  const steps = [-side, 1, side, -1];
  const rest = 4;
  const [entrance, exit] = [side + 1, (side - 2) * side + side - 2];

  // Park and Miller's generator. Any fixed sequence would be suitable.
  let state = 20261121;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;

  // Depth-first search over the cells with odd row and column. In the end `way` is the walk to the exit.
  const open = new Set([entrance]);
  const path = [{ cell: entrance, move: undefined }];
  let way;
  while (path.length > 0) {
    const { cell } = path.at(-1);
    if (cell === exit) {
      way = path.slice(1).flatMap(({ move }) => [move, move]);
    }
    const column = cell % side;
    const row = (cell - column) / side;
    const inside = [row > 1, column < side - 2, row < side - 2, column > 1];
    const fresh = [...steps.keys()].filter((move) => inside[move] && !open.has(cell + 2 * steps[move]));
    if (fresh.length === 0) {
      path.pop();
      continue;
    }
    const move = fresh[random(fresh.length)];
    open.add(cell + steps[move]).add(cell + 2 * steps[move]);
    path.push({ cell: cell + 2 * steps[move], move });
  }

  const plan = Array.from({ length: side }, (_, row) =>
    Array.from({ length: side }, (_, column) => open.has(row * side + column)),
  );
  const rows = plan.map((cells) => cells.reduce((bits, isOpen, column) => (isOpen ? bits + 2 ** column : bits), 0));
  const picture = plan.map((cells) => cells.map((isOpen) => (isOpen ? '  ' : '██')).join(''));
  const walk = [...way, ...Array(moves - way.length).fill(rest)];
  return `# The way through this maze, from the upper left to the lower right, in ${way.length} moves. Written by samples.mjs.
#
${picture.map((line) => `# ${line}\n`).join('')}
maze = "${toHex(poseidon2(...rows.map(BigInt)))}"
player = "0x00000000000000000000000070997970c51812dc3a010c7d01b50e0d17dc79c8"
rows = ${array(rows.map((row) => `"0x${row.toString(16).padStart(8, '0')}"`))}
moves = ${array(walk, 34)}
`;
}

await writeFile(new URL('./noir/merkle_membership/Prover.toml', import.meta.url), merkleMembership());
await writeFile(new URL('./noir/maze_walk/Prover.toml', import.meta.url), mazeWalk());
await bb.destroy();
