/** Under which id an agent is sent what the image of a spec version's tasks is pulled with. */
export function registryAuthId(serviceId: string, specVersion: number): string {
  return `registry-auth ${serviceId} ${specVersion}`;
}
