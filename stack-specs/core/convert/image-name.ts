const PATH = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const DOMAIN = '(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\\.[a-zA-Z0-9-]+)*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?';
const REFERENCE = new RegExp(
  `^(?:(${DOMAIN})/)?(${PATH}(?:/${PATH})*)(:[\\w][\\w.-]{0,127})?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
);

/**
 * The name with the tag that it means, and what is wrong with it. Source of the grammar: github.com/distribution/reference.
 */
export function taggedImage(image: string): { name: string } | { fault: string } {
  const slash = image.indexOf('/');
  const first = image.slice(0, Math.max(0, slash));
  const isDomain = slash >= 0 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  const parsed = REFERENCE.exec(isDomain ? image : `docker.io/${image}`);
  if (parsed === null) {
    const path = (isDomain ? image.slice(slash + 1) : image).replace(/[:@].*$/, '');
    const isUpper = path !== path.toLowerCase();
    return {
      fault: `invalid image reference ${JSON.stringify(image)}${isUpper ? `: the name ${JSON.stringify(path)} must be lowercase` : ''}`,
    };
  }
  const [, , , tag, digest] = parsed;
  return { name: tag === undefined && digest === undefined ? `${image}:latest` : image };
}
