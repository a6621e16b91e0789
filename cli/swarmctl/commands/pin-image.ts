import type { ServiceSpec } from '@apiary/api/model';
import { withDigest } from '../spec/index.js';
import type { Context } from './context.js';

interface DistributionInspect {
  Descriptor: { digest: string };
  Platforms?: { architecture?: string; os?: string }[] | null;
}

/**
 * Asks the registry which image the name means now, and pins the spec to it, so that all nodes run the same one.
 *
 * @param registryAuth  what to be known by there, as the header `X-Registry-Auth` has it
 * @returns a warning when the registry does not say
 */
export async function pinImage(
  { client }: Pick<Context, 'client'>,
  spec: ServiceSpec,
  registryAuth?: string,
): Promise<string | undefined> {
  const container = spec.TaskTemplate?.ContainerSpec;
  const image = container?.Image;
  if (container === undefined || image === undefined) return undefined;
  try {
    const path = `/distribution/${encodeURI(image)}/json`;
    const { Descriptor: descriptor, Platforms: platforms } = await client.request<DistributionInspect>(
      'GET',
      path,
      registryAuth === undefined ? {} : { headers: { 'X-Registry-Auth': registryAuth } },
    );
    container.Image = withDigest(image, descriptor.digest);
    if (platforms !== undefined && platforms !== null && platforms.length > 0) {
      const Platforms = platforms.map(({ architecture, os }) => ({
        // Nodes say which ARM they are and images do not: with the architecture, no node would fit.
        ...(architecture === undefined || architecture.toLowerCase() === 'arm' ? {} : { Architecture: architecture }),
        ...(os === undefined ? {} : { OS: os }),
      }));
      spec.TaskTemplate = { ...spec.TaskTemplate, Placement: { ...spec.TaskTemplate?.Placement, Platforms } };
    }
    return undefined;
  } catch {
    return (
      `image ${image} could not be accessed on a registry to record\n` +
      `its digest. Each node will access ${image} independently,\n` +
      'possibly leading to different nodes running different\nversions of the image.\n'
    );
  }
}
