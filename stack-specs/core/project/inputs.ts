import type { Lookup } from '../interpolation/template.js';

/** A file's text, or why it could not be read. */
export type FileRead = { text: string } | { error: string };

/** All that a project is read from. */
export interface ProjectInputs {
  /** The files of the command line, in their order. */
  files: readonly ProjectFile[];
  /** The environment, with what `.env` adds to it. */
  lookup: Lookup;
  /** Reads another file that one of them names, by its absolute path. */
  readFile: (path: string) => FileRead;
  /** The folder that relative paths in the files of the command line are seen from. */
  directory: string;
  home: string;
  /** Which profiles are wanted; services without one always are. */
  profiles: readonly string[];
  /** False to leave variables as they are. */
  interpolate: boolean;
}

export interface ProjectFile {
  /** As it is shown to the user. */
  shownPath: string;
  /** Absolute; undefined for standard input. */
  path: string | undefined;
  read: FileRead;
}
