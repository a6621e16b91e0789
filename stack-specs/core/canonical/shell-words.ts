/**
 * Splits a command line into words as a POSIX shell does: quotes and backslashes, but no variables and no operators.
 *
 * @returns undefined when a quote is not closed
 */
export function shellWords(line: string): string[] | undefined {
  const words: string[] = [];
  let word = '';
  let isWord = false;
  let quote = '';
  for (let at = 0; at < line.length; at++) {
    const char = line.charAt(at);
    if (char === '\\' && quote !== "'") {
      const next = line.charAt(++at);
      if (next === '') return undefined;
      // Within double quotes a backslash is itself before what needs none.
      word += quote === '"' && !'"\\$`\n'.includes(next) ? `\\${next}` : next;
      isWord = true;
    } else if (quote !== '') {
      if (char === quote) quote = '';
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      isWord = true;
    } else if (/[ \t\r\n]/.test(char)) {
      if (isWord) words.push(word);
      word = '';
      isWord = false;
    } else {
      word += char;
      isWord = true;
    }
  }
  if (quote !== '') return undefined;
  if (isWord) words.push(word);
  return words;
}
