// A zip archive of files that are stored as they are: PNGs don't get smaller twice. (PKWARE's APPNOTE, 4.3 and 4.4.)

export interface ZipEntry {
  /** With slashes between folders. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const VERSION = 20;
// Made on Unix, where names are UTF-8. unzip takes names from FAT, which is 0, for a code page's, whatever the flag says.
const MADE_BY = (3 << 8) | VERSION;
const PLAIN_FILE = 0o100644 * 0x1_0000; // Unix has the rights in the upper half
const UTF8_NAMES = 0x0800;
const STORED = 0;
const FIRST_OF_1980 = 0x0021; // dates start there; the same pictures make the same archive

/** The archive. Throws a RangeError above 65,535 entries or 4 GiB: more needs another format. */
export function zip(entries: readonly ZipEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const entry of entries) {
    const name = new TextEncoder().encode(entry.path);
    const about = describe(entry.bytes, name);
    const place = [[2, 0], [2, 0], [2, 0], [4, PLAIN_FILE], [4, offset]] as const;
    directory.push(numbers([4, CENTRAL_HEADER], [2, MADE_BY], ...about, ...place), name);
    const header = numbers([4, LOCAL_HEADER], ...about);
    parts.push(header, name, entry.bytes);
    offset += header.length + name.length + entry.bytes.length;
  }
  const directoryBytes = lengthOf(directory);
  if (entries.length > 0xffff || offset + directoryBytes > 0xffffffff) {
    throw new RangeError("too much for a zip archive");
  }
  const counts = [[2, entries.length], [2, entries.length], [4, directoryBytes], [4, offset]] as const;
  const end = numbers([4, END_RECORD], [2, 0], [2, 0], ...counts, [2, 0]);
  return join([...parts, ...directory, end]);
}

/** What the local header and the directory say alike. */
function describe(bytes: Uint8Array, name: Uint8Array): (readonly [number, number])[] {
  const size = bytes.length;
  return [
    [2, VERSION], [2, UTF8_NAMES], [2, STORED], [2, 0], [2, FIRST_OF_1980],
    [4, crc32(bytes)], [4, size], [4, size], [2, name.length], [2, 0],
  ];
}

/** Little endian, each with its number of bytes. */
function numbers(...fields: (readonly [number, number])[]): Uint8Array {
  return Uint8Array.from(
    fields.flatMap(([bytes, value]) => Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff)),
  );
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, { length }) => sum + length, 0);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(lengthOf(parts));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

export function crc32(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (const byte of bytes) rest = (rest >>> 8) ^ CRC_TABLE[(rest ^ byte) & 0xff]!;
  return (rest ^ 0xffffffff) >>> 0;
}
