/** How wide columns are at least, and how much room stays between two. Docker's tables use 10 and 3. */
export interface ColumnLayout {
  leastWidth: number;
  padding: number;
}

/**
 * Aligns the tab-separated cells of a text in columns, as Go's tabwriter does: a column's width is that of its widest
 * cell among consecutive lines that have it, and the text after a line's last tab belongs to no column.
 */
export function alignColumns(text: string, layout: ColumnLayout): string {
  const lines = text.split('\n').map((line) => line.split('\t'));
  const widths = lines.map((): number[] => []);
  const most = Math.max(...lines.map((cells) => cells.length));
  // Whether line i has column c: its last cell ends no column.
  const has = (i: number, column: number) => (lines[i]?.length ?? 0) - 1 > column;
  for (let column = 0; column < most - 1; column++) {
    for (let i = 0; i < lines.length; i++) {
      if (!has(i, column)) continue;
      let end = i;
      let width = layout.leastWidth;
      for (; has(end, column); end++) {
        width = Math.max(width, displayWidth(lines[end]?.[column] ?? '') + layout.padding);
      }
      for (; i < end; i++) widths[i]?.push(width);
    }
  }
  return lines
    .map((cells, i) => cells.map((cell, column) => padded(cell, widths[i]?.[column] ?? 0)).join(''))
    .join('\n');
}

function padded(cell: string, width: number): string {
  return cell + ' '.repeat(Math.max(0, width - displayWidth(cell)));
}

/** Columns that a terminal gives a text: two for the wide characters of East Asia. */
function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    width += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/.test(
      character,
    )
      ? 2
      : 1;
  }
  return width;
}
