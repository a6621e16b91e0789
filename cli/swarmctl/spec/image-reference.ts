/** An image's name, taken apart. Source: the grammar of github.com/distribution/reference. */
interface ImageReference {
  /** As people write it: without `docker.io/` and `library/`. */
  familiarName: string;
  tag: string | undefined;
  digest: string | undefined;
}

const PATH = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const DOMAIN = '(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9-]+)*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?';
const REFERENCE = new RegExp(
  `^(?:(${DOMAIN})/)?(${PATH}(?:/${PATH})*)(?::([\\w][\\w.-]{0,127}))?(?:@([A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,}))?$`,
);

/** Undefined for what is no image's name, an image id among it. */
function parseImage(image: string): ImageReference | undefined {
  if (/^[0-9a-f]{64}$/.test(image)) return undefined;
  const slash = image.indexOf('/');
  const first = image.slice(0, Math.max(0, slash));
  // A first part is a registry's address when it looks like one; otherwise it is part of a name at Docker's own.
  const isDomain = slash !== -1 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const official = !isDomain || first === 'docker.io' || first === 'index.docker.io';
  const remainder = isDomain && official ? image.slice(slash + 1) : image;
  const [, domain, path, tag, digest] = REFERENCE.exec(official ? `docker.io/${remainder}` : image) ?? [];
  if (path === undefined || domain === undefined) return undefined;
  const familiarName = official ? path.replace(/^library\/([^/]+)$/, '$1') : `${domain}/${path}`;
  return { familiarName, tag, digest };
}

/** The name with the tag that it means, `latest` when it names neither a tag nor a digest; what is no name, unchanged. */
export function withTag(image: string): string {
  const parsed = parseImage(image);
  if (parsed === undefined) return image;
  const { familiarName, tag, digest } = parsed;
  const named = tag === undefined && digest === undefined ? 'latest' : tag;
  return familiarName + (named === undefined ? '' : `:${named}`) + (digest === undefined ? '' : `@${digest}`);
}

/** The name pinned to `digest`, unless it is pinned already. */
export function withDigest(image: string, digest: string): string {
  const parsed = parseImage(image);
  return parsed === undefined || parsed.digest !== undefined ? image : `${withTag(image)}@${digest}`;
}

/** The name as lists show it: the digest left out where there is a tag. */
export function withoutDigest(image: string): string {
  const parsed = parseImage(image);
  return parsed?.tag === undefined ? image : `${parsed.familiarName}:${parsed.tag}`;
}
