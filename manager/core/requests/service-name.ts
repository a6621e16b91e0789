import type { Rng } from '@apiary/std';
import type { View } from '../store/view.js';

const ADJECTIVES = 'amber brisk calm dusky eager fair golden hazy keen lively mellow nimble quiet rustic sunny wild';
const NOUNS =
  'acorn bumblebee clover daisy fern garden heather ivy larch meadow nectar orchard poppy rosemary thyme willow';
const ATTEMPTS = 100;

/** A free name for a service whose owner gave it none: `calm_meadow`, or `calm_meadow_417` where those run short. */
export function randomServiceName(view: View, rng: Rng): string {
  const [adjectives, nouns] = [ADJECTIVES.split(' '), NOUNS.split(' ')];
  const one = (words: string[]) => words[rng.below(words.length)] ?? '';
  for (let attempt = 0; ; attempt++) {
    const name = `${one(adjectives)}_${one(nouns)}`;
    if (view.serviceByName(name) === undefined) return name;
    if (attempt >= ATTEMPTS) return `${name}_${rng.below(0x1_0000_0000)}`;
  }
}
