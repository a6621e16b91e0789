import type { ContainerConfig } from './container.js';

/**
 * The container with its secrets and configs: each bound from its own file, for reading only.
 *
 * @param pathOf  where on the host the file with that number is
 */
export function withContents(config: ContainerConfig, pathOf: (index: number) => string): ContainerConfig {
  const { body, contents } = config;
  if (contents === undefined) return config;
  const given = objectOf(body['HostConfig']);
  const own = 'Mounts' in given && Array.isArray(given.Mounts) ? given.Mounts : [];
  const mounts = contents.files.map(({ path }, i) => ({
    Type: 'bind',
    Source: pathOf(i),
    Target: path,
    ReadOnly: true,
  }));
  return { ...config, body: { ...body, HostConfig: { ...given, Mounts: [...own, ...mounts] } } };
}

function objectOf(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
