import type { VersionInfo } from '@apiary/api/client';
import { alignColumns, infoPage, parsing } from '../table/index.js';
import { compileTemplate, jsonOf, structOf } from '../template/index.js';
import { CommandError, type CommandModule, type Context } from './context.js';
import { errorText } from './error-text.js';
import { inspectFormat } from './options.js';

/** What the command line is built on, as `version` and `info` tell it. */
function clientInfo({ version }: Context) {
  return { Version: version, NodeVersion: process.version.slice(1), Os: process.platform, Arch: process.arch };
}

export const version: CommandModule = {
  flags: [inspectFormat],
  run: async (context, flags) => {
    const format = flags.get(inspectFormat) ?? '';
    const template = format === '' || format === 'json' ? undefined : parsing(() => compileTemplate(format));
    const client = clientInfo(context);
    let server: VersionInfo | undefined;
    let failure: unknown;
    try {
      server = await context.client.version();
    } catch (error) {
      failure = error;
    }
    const both = structOf('swarmctl.versionInfo', { Client: () => client, Server: () => server ?? null });
    if (template !== undefined) context.terminal.out(`${parsing(() => template.render(both))}\n`);
    else context.terminal.out(format === 'json' ? `${jsonOf(both.toJSON())}\n` : versionPage(client, server));
    if (failure !== undefined) throw new CommandError(errorText(failure));
  },
};

function versionPage(client: ReturnType<typeof clientInfo>, server: VersionInfo | undefined): string {
  const lines = [
    'Client: Apiary',
    ` Version:\t${client.Version}`,
    ` Node version:\t${client.NodeVersion}`,
    ` OS/Arch:\t${client.Os}/${client.Arch}`,
  ];
  if (server !== undefined) {
    const platform = nameOf(server['Platform']);
    lines.push('', `Server:${platform === '' ? '' : ` ${platform}`}`);
    for (const { Name: name, Version: number, Details: details = {} } of server.Components ?? []) {
      lines.push(` ${name}:`, `  Version:\t${number}`);
      const keys = Object.keys(details).sort();
      lines.push(...keys.map((key) => `  ${key}:\t${details[key]}`));
    }
  }
  return alignColumns(`${lines.join('\n')}\n`, { leastWidth: 20, padding: 1 });
}

function nameOf(platform: unknown): string {
  return typeof platform === 'object' && platform !== null && 'Name' in platform ? String(platform.Name) : '';
}

export const info: CommandModule = {
  flags: [inspectFormat],
  run: async (context, flags) => {
    const format = flags.get(inspectFormat) ?? '';
    const template = format === '' || format === 'json' ? undefined : parsing(() => compileTemplate(format));
    const answer = await context.client.info();
    const client = clientInfo(context);
    if (template !== undefined) {
      // A worker does not say them, and a template has them as 0, with Docker.
      const { Nodes = 0, Managers = 0 } = answer.Swarm;
      const Swarm = { ...answer.Swarm, Nodes, Managers };
      context.terminal.out(`${parsing(() => template.render({ ...answer, Swarm, ClientInfo: client }))}\n`);
    } else if (format === 'json') {
      context.terminal.out(`${jsonOf({ ...answer, ClientInfo: client })}\n`);
    } else {
      const { text, warnings } = infoPage(answer, client.Version);
      context.terminal.out(text);
      for (const warning of warnings) context.terminal.err(`${warning}\n`);
    }
  },
};
