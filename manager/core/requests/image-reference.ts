const DOMAIN_LABEL = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?';
const PATH_LABEL = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const REFERENCE = new RegExp(
  `^(?:(?<domain>${DOMAIN_LABEL}(?:\\.${DOMAIN_LABEL})*(?::[0-9]+)?)/)?` +
    `(?<path>${PATH_LABEL}(?:/${PATH_LABEL})*)` +
    '(?::\\w[\\w.-]{0,127})?' +
    '(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$',
);
const MAX_NAME_LENGTH = 255;
/** A name, a tag and a digest of any kind in use fit; the expression above never sees more. */
const MAX_LENGTH = 1_024;
const IMAGE_ID = /^[0-9a-f]{64}$/;

/**
 * Whether `text` names an image as `docker pull` takes it: `web`, `web:1.2`, `registry:5000/team/web@sha256:...`.
 * Source of the grammar: the reference package of distribution (github.com/distribution/reference).
 */
export function isImageReference(text: string): boolean {
  if (text.length > MAX_LENGTH || IMAGE_ID.test(text)) return false;
  const { domain, path } = REFERENCE.exec(text)?.groups ?? {};
  if (path === undefined) return false;
  // What looks like a domain is the first part of a path on Docker Hub, and has to be one: no upper case.
  if (domain !== undefined && !/[.:]|^localhost$/.test(domain) && !new RegExp(`^${PATH_LABEL}$`).test(domain))
    return false;
  return (domain ?? '').length + path.length <= MAX_NAME_LENGTH;
}
