// Checks an export of the ledger without a secret: node verify-ledger.mjs [--checkpoint FILE]… [--key VERIFYING_KEY] [EXPORT]…
// Exit code 0: no entry is missing or changed, 1: something was found, 2: the input cannot be checked. See docs/FORMAT.md.
import { createHash, createPublicKey, verify } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
const stop = (problem) => { throw new Error(problem); };
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const text = (value) => (typeof value === "string" ? Buffer.from(value) : stop("a text is none"));
const hex = (value) => (/^([0-9a-f]{2})*$/.test(value) ? Buffer.from(value, "hex") : stop("bytes are not hex"));
const number = (value) => (Number.isInteger(value) ? BigInt(value) : stop("a number is none"));
const int = (value) => { const bytes = Buffer.alloc(8); bytes.writeBigInt64BE(number(value)); return bytes; };
const COLUMNS = { writer: (id) => hex(id.replaceAll("-", "")), seq: int, epoch: int, settled: int, head: hex, at_ms: int, op: text,
  place: text, usr: text, tenant: text, before: text, after: text, digest: hex, outcome: text, actor: text, reason: text,
  request: text, host: text, release: text, detail: text };
const part = (bytes) => (bytes === null ? Buffer.of(0) : Buffer.concat([Buffer.of(1), int(bytes.length), bytes]));
const writers = new Map(), named = new Set(); // what was read of each writer, and the heads that checkpoints name
let lines = 0, above = 0, place = "", writer, heads; // heads: of the writer, after each number
const found = (problem) => { process.exitCode = 1; console.log(place + problem); return true; };
process.on("uncaughtException", (e) => { console.error(`error: ${place}${e.message}`.replace(/\p{C}/gu, "?")); process.exit(2); });
function takeEntry(entry, colons) { // one for each member: JSON may name a member twice, with two values
  if (colons !== 21 || Object.keys(entry).join() !== `${Object.keys(COLUMNS)},mac`) stop("this is not an entry of the ledger");
  const parts = Object.entries(COLUMNS).map(([name, bytes]) => (entry[name] === null ? null : bytes(entry[name])));
  const bytes = Buffer.concat([text("retell-vault/ledger/v1"), ...parts].map(part)), { writer: id, seq, settled } = entry;
  if (id === writer?.id ? seq <= writer.last : writers.has(id)) return found(`entry ${seq} of writer ${id} is out of order`);
  if (id !== writer?.id) [writer, heads] = [{ id, last: 0, settled: 0, gaps: [] }, new Map([[0, "00".repeat(32)]])];
  if (seq > writer.last + 1) writer.gaps.push([writer.last + 1, seq - 1]);
  const isWhole = !writer.isBroken && (!writer.gaps.length || settled < writer.gaps[0][0]); // all are there up to `settled`
  if (isWhole && heads.get(settled) !== entry.head) writer.isBroken = found(`one of ${id}, up to ${settled}, was changed`);
  const head = sha256(hex(heads.get(seq - 1) ?? ""), sha256(bytes), hex(entry.mac)).toString("hex");
  heads.set(seq, head).delete(seq - 1026); // `settled` is behind by at most 1024
  named.delete(`${id} ${seq} ${head}`);
  writers.set(id, Object.assign(writer, { last: seq, settled: Math.max(writer.settled, settled) }));
}
function takeCheckpoint(file, key) { // a signed note, as https://c2sp.org/signed-note defines it
  const [, name, id, base64] = key?.match(/^([^+ ]+)\+([0-9a-f]{8})\+([\w+/]{44})$/) ?? stop("--checkpoint needs --key NAME+ID+…");
  const bytes = Buffer.from(base64, "base64"), note = readFileSync(file, "utf8"), end = note.lastIndexOf("\n\n") + 1;
  const publicKey = createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x: bytes.toString("base64url", 1) } });
  const signatures = note.slice(end).split(`\n— ${name} `).slice(1).map((line) => Buffer.from(line.split("\n")[0], "base64"));
  const isSigned = (it) => it.toString("hex", 0, 4) === id && verify(null, text(note.slice(0, end)), publicKey, it.subarray(4));
  if (!note.startsWith("retell-vault/ledger\n") || !signatures.some(isSigned)) return found(`${file} is no checkpoint by this key`);
  for (const [writer, settled, head] of note.slice(0, end - 1).split("\n").slice(5).map((line) => line.split(" ")))
    named.add(`${writer} ${settled} ${Buffer.from(head, "base64").toString("hex")}`);
}
const options = { checkpoint: { type: "string", multiple: true, default: [] }, key: { type: "string" } };
const { values, positionals } = parseArgs({ options, allowPositionals: true });
values.checkpoint.forEach((file) => takeCheckpoint(file, values.key));
for (const file of positionals.length ? positionals : ["/dev/stdin"])
  for await (const line of createInterface({ input: createReadStream(file) })) {
    place = `${file}, line ${(lines += 1)}: `;
    takeEntry(JSON.parse(line), line.replace(/\\./g, "").replace(/"[^"]*"/g, "").match(/:/g)?.length);
  }
place = lines ? "" : stop("there are no entries");
for (const { id, last, settled, gaps } of writers.values()) { // every number up to `settled` was written
  for (const [from, to] of gaps.filter(([from]) => from <= settled)) found(`missing: ${from} to ${Math.min(to, settled)} of ${id}`);
  for (const [at, to] of gaps.filter(([, to]) => to > settled)) console.log(`open: ${Math.max(at, settled + 1)} to ${to} of ${id}`);
  above += last - settled;
}
named.forEach((head) => found(`a checkpoint names a head that is not on the chain: ${head}`));
console.log(`${lines} entries of ${writers.size} writers: ${process.exitCode ? "not " : ""}whole; ${above} not covered by a head`);
