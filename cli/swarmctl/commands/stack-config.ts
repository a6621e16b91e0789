import { configDocument, printYaml } from '@apiary/stack-specs/core';
import { FILE_FLAGS, readStackFiles, report, skipInterpolation } from '../stack/read-stack.js';
import type { CommandModule } from './context.js';

/** `stack config`: the files as one, in one form. */
export const config: CommandModule = {
  flags: [...FILE_FLAGS, skipInterpolation],
  run: async ({ terminal }, flags) => {
    const { root, diagnostics, directory } = readStackFiles(flags, {
      interpolates: flags.get(skipInterpolation) !== true,
    });
    report(diagnostics, flags, terminal);
    if (root !== undefined) terminal.out(printYaml(configDocument(root, directory)));
  },
};
