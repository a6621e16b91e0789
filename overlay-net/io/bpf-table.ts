import type { BpfEntry, BpfMap } from '@apiary/agent-native';

/** Makes a map hold these entries and no others. @returns whether something had to be changed */
export async function reconcile(map: BpfMap, wanted: readonly BpfEntry[]): Promise<boolean> {
  const strays = new Map((await map.entries()).map(({ key, value }) => [key.toString('hex'), { key, value }]));
  const missing: BpfEntry[] = [];
  for (const entry of wanted) {
    const name = Buffer.from(entry.key).toString('hex');
    if (strays.get(name)?.value.equals(entry.value) !== true) missing.push(entry);
    strays.delete(name);
  }
  await map.setMany(missing);
  if (strays.size > 0) await map.deleteMany([...strays.values()].map(({ key }) => key));
  return missing.length + strays.size > 0;
}
