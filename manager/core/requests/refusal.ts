import { ApiaryError } from '@apiary/std';

/** What is wrong in itself. @param words  Docker's, wherever Docker has words for it */
export function invalid(words: string): ApiaryError {
  return new ApiaryError('invalid-argument', words);
}

/** What is right in itself, and not honoured by this version. @param path  where it stands in the spec */
export function unhonoured(path: string, instead = 'remove it'): ApiaryError {
  return new ApiaryError('unimplemented', `${path} is not supported by this version: ${instead}`);
}

/** Go's `strconv.Quote`, which Docker's messages use, for the words that users mistype. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}
