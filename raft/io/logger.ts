/** Where a log says what an operator should know; a pino logger is one. */
export interface Logger {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export const silentLogger: Logger = { info: () => {}, warn: () => {} };
