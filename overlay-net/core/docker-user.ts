/** Docker's chain for rules that come before its own: its FORWARD policy is DROP, and an accept elsewhere undoes no drop. */
export const DOCKER_USER = 'DOCKER-USER';

/** Arguments of iptables(8), one list a call. */
export type IptablesCall = string[];

/** What comes in by the links, answers, and what is published. What is not to pass nevertheless is dropped in a table of ours. */
function accepts(links: readonly string[]): string[] {
  return links.flatMap((link) => [
    `-i ${link} -j ACCEPT`,
    `-o ${link} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT`,
  ]);
}

/**
 * The calls that are missing for Docker's chain to let the packets of the gateway's links through. They go in front of the chain's
 * closing RETURN, and so after what the host's administrator wrote there.
 *
 * @param listing  of `iptables -S DOCKER-USER`
 * @param links    as iptables names them: `apgw+` for all that begin so
 */
export function missingAccepts(listing: string, links: readonly string[]): IptablesCall[] {
  const rules = rulesOf(listing);
  const end = rules.indexOf('-j RETURN');
  const place = end < 0 ? rules.length : end;
  return accepts(links)
    .filter((rule) => !rules.slice(0, place).includes(rule))
    .map((rule, i) => ['-I', DOCKER_USER, `${place + 1 + i}`, ...rule.split(' ')]);
}

/** The calls that take them out of the chain again, as often as each is there. */
export function presentAccepts(listing: string, links: readonly string[]): IptablesCall[] {
  const wanted = accepts(links);
  return rulesOf(listing)
    .filter((rule) => wanted.includes(rule))
    .map((rule) => ['-D', DOCKER_USER, ...rule.split(' ')]);
}

function rulesOf(listing: string): string[] {
  const start = `-A ${DOCKER_USER} `;
  return listing.split('\n').flatMap((line) => (line.startsWith(start) ? [line.slice(start.length).trim()] : []));
}
