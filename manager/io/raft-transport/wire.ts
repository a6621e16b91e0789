import { type Finished, RaftService } from '@apiary/api/rpc';
import { ApiaryError } from '@apiary/std';
import { Metadata, type MethodDefinition } from '@grpc/grpc-js';

/** Version of what managers say to each other. One that speaks a newer one is refused: it must wait for the others. */
export const WIRE_VERSION = 1;

const VERSION_KEY = 'apiary-raft-version';
const ADDR_KEY = 'apiary-manager-addr';

/** What either side says of itself before anything else. */
export interface Greeting {
  version: number;
  /** Where the manager is reached, `HOST:PORT`. */
  addr: string | undefined;
}

export function writeGreeting({ version, addr }: Greeting): Metadata {
  const metadata = new Metadata();
  metadata.set(VERSION_KEY, String(version));
  if (addr !== undefined) metadata.set(ADDR_KEY, addr);
  return metadata;
}

/** @throws ApiaryError `invalid-argument` when there is no version in it */
export function readGreeting(metadata: Metadata): Greeting {
  const [version] = metadata.get(VERSION_KEY);
  const [addr] = metadata.get(ADDR_KEY);
  if (typeof version !== 'string' || !/^[1-9]\d{0,8}$/.test(version)) {
    throw new ApiaryError('invalid-argument', "it does not say which version of the managers' protocol it speaks");
  }
  return { version: Number(version), addr: typeof addr === 'string' && addr.length <= 300 ? addr : undefined };
}

/** @param who  the one that speaks `version`, as the sentence begins */
export function newerVersion(who: string, version: number): ApiaryError {
  return new ApiaryError(
    'failed-precondition',
    `${who} speaks version ${version} of the managers' protocol, and this manager version ${WIRE_VERSION}: ` +
      'upgrade swarmd on this host',
  );
}

/** The service with frames as they are: they are put together and taken apart by `frame.ts`. */
const asIs = (frame: Buffer): Buffer => frame;

export const RAW_RAFT_SERVICE = {
  messages: { ...RaftService.messages, requestSerialize: asIs, requestDeserialize: asIs },
  snapshots: { ...RaftService.snapshots, requestSerialize: asIs, requestDeserialize: asIs },
  forward: {
    ...RaftService.forward,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  },
} satisfies Record<string, MethodDefinition<Buffer, Buffer> | MethodDefinition<Buffer, Finished>>;
