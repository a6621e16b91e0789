import type { CommandModule } from './context.js';

export const rotateLogKey: CommandModule = {
  flags: [],
  run: async (context) => {
    const { KeyId } = await context.client.rotateLogKey();
    context.terminal.out(`${KeyId}\n`);
  },
};
