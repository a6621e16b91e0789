export interface VolumeEntry {
  type: 'bind' | 'volume';
  source: string;
  target: string;
  readOnly: boolean;
  noCopy: boolean;
  /** Empty: the engine's own. */
  propagation: string;
}

const PROPAGATION = new Set(['private', 'shared', 'slave', 'rprivate', 'rshared', 'rslave']);

/**
 * Reads `[SOURCE:]TARGET[:OPTION,...]`. A source that looks like a path is bound, one with a drive's letter among them;
 * another is the name of a volume. An option that nobody knows says nothing, as with Docker.
 *
 * @returns the entry, or what is wrong
 */
export function parseVolume(text: string): VolumeEntry | string {
  if (text === '') return 'an empty volume: write a path in the container, or SOURCE:PATH';
  const sections = text.length > 2 ? splitSections(text) : [text];
  if (sections.length > 3) return `${JSON.stringify(text)} has too many colons: it is SOURCE:TARGET:OPTIONS at most`;
  if (sections.includes('')) return `${JSON.stringify(text)} has an empty section between colons`;
  const [first = '', second, options = ''] = sections;
  const source = second === undefined ? '' : first;
  const target = second ?? first;
  const entry: VolumeEntry = {
    type: /^([./~]|\\\\|[a-zA-Z]:)/.test(source) ? 'bind' : 'volume',
    source,
    target,
    readOnly: false,
    noCopy: false,
    propagation: '',
  };
  for (const option of options.split(',')) {
    if (option === 'ro') entry.readOnly = true;
    else if (option === 'rw') entry.readOnly = false;
    else if (option === 'nocopy') entry.noCopy = true;
    else if (PROPAGATION.has(option)) entry.propagation = option;
  }
  return entry;
}

/** At colons, but not at that of a drive's letter: `C:\data` is one section. */
function splitSections(text: string): string[] {
  const sections: string[] = [];
  let section = '';
  for (const char of text) {
    const isDrive = char === ':' && /^[a-zA-Z]$/.test(section);
    if (char === ':' && !isDrive) {
      sections.push(section);
      section = '';
    } else section += char;
  }
  sections.push(section);
  return sections;
}
