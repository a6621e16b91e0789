/** What the Engine API calls an `AuthConfig`. */
export interface RegistryAuth {
  username?: string;
  password?: string;
  identitytoken?: string;
  serveraddress?: string;
  [field: string]: unknown;
}

/**
 * Credentials for a registry as the header `X-Registry-Auth` has them: JSON in base64 of the form that is safe in URLs,
 * with its padding, without which engines do not take it.
 */
export function registryAuthHeader(auth: RegistryAuth): string {
  return Buffer.from(JSON.stringify(auth)).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** Reads the header, in either form of base64. Its fields are whatever was sent; undefined when it is none. */
export function readRegistryAuth(header: string): RegistryAuth | undefined {
  try {
    const auth: unknown = JSON.parse(Buffer.from(header, 'base64').toString());
    return typeof auth === 'object' && !Array.isArray(auth) ? { ...auth } : undefined;
  } catch {
    return undefined;
  }
}
