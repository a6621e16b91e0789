import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, resolve } from 'node:path';
import {
  convertStack,
  type Diagnostics,
  type FileRead,
  type Lookup,
  type MapNode,
  type ProjectFile,
  readDotEnv,
  readProject,
  type Stack,
} from '../core/index.js';

export interface StackSource {
  /** As on the command line; `-` is standard input. */
  files: readonly string[];
  /** Files with variables for the interpolation; without any, the `.env` beside the first file. */
  envFiles: readonly string[];
  profiles: readonly string[];
  interpolate: boolean;
  environment: Readonly<Record<string, string | undefined>>;
}

export interface LoadedProject {
  /** Undefined when there are errors. */
  root: MapNode | undefined;
  /** Services that no wanted profile has. */
  leftOut: { name: string; profiles: string[] }[];
  diagnostics: Diagnostics;
  /** The environment, with what env files add. */
  lookup: Lookup;
  /** That relative paths are seen from. */
  directory: string;
}

/** No file that a stack names may be larger: contents of secrets and configs are bounded below it. */
const MOST_BYTES = 8 * 1024 * 1024;

/** Reads a project's files and all that they name. What cannot be read is among the diagnostics. */
export function loadProject(source: StackSource): LoadedProject {
  const [first = '-'] = source.files;
  const directory = first === '-' ? process.cwd() : dirname(resolve(first));
  const { variables, faults } = envVariables(source, directory);
  const lookup: Lookup = (name) => source.environment[name] ?? variables.get(name);
  const profiles = [...source.profiles, ...(lookup('COMPOSE_PROFILES') ?? '').split(',').filter((one) => one !== '')];
  const { root, leftOut, diagnostics } = readProject({
    files: source.files.map(projectFile),
    lookup,
    readFile: readText,
    directory,
    home: source.environment['HOME'] ?? homedir(),
    profiles,
    interpolate: source.interpolate,
  });
  for (const fault of faults) diagnostics.error(fault, []);
  return { root: diagnostics.hasErrors ? undefined : root, leftOut, diagnostics, lookup, directory };
}

/** Makes the bodies of a project; what is wrong is added to its diagnostics. */
export function convertProject(project: LoadedProject, name: string, isApiary: boolean): Stack | undefined {
  if (project.root === undefined) return undefined;
  const { diagnostics, lookup } = project;
  const stack = convertStack(
    project.root,
    { name, isApiary, lookup, readContent, encode: (text) => Buffer.from(text).toString('base64') },
    diagnostics,
  );
  return diagnostics.hasErrors ? undefined : stack;
}

function projectFile(path: string): ProjectFile {
  if (path === '-') return { shownPath: 'stdin', path: undefined, read: decoded(readFileSync(0)) };
  return { shownPath: path, path: resolve(path), read: readText(path) };
}

function envVariables({ envFiles, environment }: StackSource, directory: string) {
  const variables = new Map<string, string>();
  const faults: string[] = [];
  const files = envFiles.length > 0 ? envFiles : [`${directory}/.env`];
  for (const path of files) {
    const read = readText(path);
    if ('error' in read) {
      if (envFiles.length > 0) faults.push(`env file ${path}: ${read.error}`);
      continue;
    }
    const known = readDotEnv(read.text, (name) => environment[name] ?? variables.get(name));
    if ('fault' in known) faults.push(`env file ${path}, line ${known.fault.line}: ${known.fault.message}`);
    else for (const [name, value] of known.variables) variables.set(name, value);
  }
  return { variables, faults };
}

function readText(path: string): FileRead {
  const read = readBytes(path);
  return 'error' in read ? read : decoded(read.bytes);
}

function decoded(bytes: Buffer): FileRead {
  if (bytes.length > MOST_BYTES) return { error: `it has more than ${MOST_BYTES >> 20} MiB` };
  const encoding =
    bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8';
  try {
    return { text: new TextDecoder(encoding, { fatal: true }).decode(bytes) };
  } catch {
    return { error: `it is not UTF-8: ${firstBadLine(bytes)} holds bytes that are no character` };
  }
}

function firstBadLine(bytes: Buffer): string {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const at = bytes.indexOf(0x0a, start);
    const end = at < 0 ? bytes.length : at;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(start, end));
    } catch {
      return `line ${line}`;
    }
    start = end + 1;
  }
  return 'a line';
}

function readContent(path: string): { base64: string } | { error: string } {
  const read = readBytes(path);
  return 'error' in read ? read : { base64: read.bytes.toString('base64') };
}

function readBytes(path: string): { bytes: Buffer } | { error: string } {
  try {
    if (statSync(path).size > MOST_BYTES) return { error: `it has more than ${MOST_BYTES >> 20} MiB` };
    return { bytes: readFileSync(path) };
  } catch (error) {
    // Node's words are `ENOENT: no such file or directory, open '...'`.
    const text = error instanceof Error ? error.message : String(error);
    const [, why = text] = /^[A-Z]+: (.*?), /.exec(text) ?? [];
    return { error: why === 'illegal operation on a directory' ? 'it is a directory' : why };
  }
}
