/** `path` seen from `directory`, both in the form of Unix; an absolute one stays as it is. */
export function resolvePath(directory: string, path: string): string {
  return path.startsWith('/') ? path : cleanPath(`${directory}/${path}`);
}

/** Without `.`, `..` and doubled slashes. */
export function cleanPath(path: string): string {
  const steps: string[] = [];
  for (const step of path.split('/')) {
    if (step === '' || step === '.') continue;
    if (step === '..') steps.pop();
    else steps.push(step);
  }
  return `/${steps.join('/')}`;
}

/** The folder that a file lies in. */
export function folderOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')));
}

/** The source of a bind mount: `~` is the home folder; a drive's letter begins an absolute path of Windows. */
export function resolveHostPath(directory: string, home: string, path: string): string {
  if (path.startsWith('~') && home !== '') return cleanPath(home + path.slice(1));
  return /^[a-zA-Z]:[\\/]/.test(path) ? path : resolvePath(directory, path);
}
