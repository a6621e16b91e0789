/** An image's reference, taken apart: `localhost:5000/team/web:1@sha256:...`. */
export interface ImageReference {
  name: string;
  /** `latest` when neither a tag nor a digest is given; undefined when there is only a digest. */
  tag?: string;
  /** With its algorithm: `sha256:...`. */
  digest?: string;
}

export function parseImageReference(text: string): ImageReference {
  const [named = '', digest] = text.split('@', 2);
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const name = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (digest !== undefined) return { name, digest, ...(tag !== undefined && { tag }) };
  return { name, tag: tag ?? 'latest' };
}

/**
 * A reference as the engine shows it: Docker Hub's host and `library/` left out, `:latest` put in.
 * An image's id stays as it is.
 */
export function familiarReference(text: string): string {
  if (/^(sha256:)?[0-9a-f]{64}$/.test(text)) return text;
  const { name, tag, digest } = parseImageReference(text);
  let familiar = name.replace(/^(index\.)?docker\.io\//, '');
  if (/^library\/[^/]+$/.test(familiar)) familiar = familiar.slice('library/'.length);
  return `${familiar}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}
