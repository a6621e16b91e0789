import { ContentOpener, createKeyAndCsr } from '@apiary/api/client';
import { formatJoinToken } from '@apiary/api/model';
import { AgentMessage, DispatcherService, IssueCertificateRequest, NodeCaService } from '@apiary/api/rpc';
import { rootDigestOfPem, verifiedKeyOf } from '@apiary/manager/io';
import { invariant } from '@apiary/std';
import { type Client, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import * as fc from 'fast-check';
import { DESCRIPTION } from './cluster.js';
import { damaged } from './damage.js';
import { MESSAGE_FRAMES } from './log-targets.js';
import { openRpcDoor } from './rpc-door.js';
import type { OpenTarget, Target, Verdict } from './target.js';

/** What the managers' door reads of nodes and of strangers, over TLS, as bytes that no client of ours would send. */

const asIs = (bytes: Buffer): Buffer => bytes;
/** Longer than the ten seconds after which a session without Hello would end anyway is not waited for. */
const DEADLINE_MS = 8_000;

/** As another manager begins: other calls have no use for it. */
function greeting(): Metadata {
  const metadata = new Metadata();
  metadata.set('apiary-raft-version', '1');
  return metadata;
}

/** What a manager may answer to nonsense: gRPC's own words for bytes that are no message are among it. */
function isRefusal({ code, details }: ServiceError): boolean {
  if (code === status.INTERNAL) return /deserializ|parse|decod/i.test(details);
  return code !== status.UNKNOWN && code !== status.DEADLINE_EXCEEDED;
}

function sampleMessages(): Buffer[] {
  const description = {
    descriptionJson: JSON.stringify(DESCRIPTION),
    advertiseAddr: '10.0.0.1',
    engineError: '',
    managerAddr: '',
    wireguardKey: '',
  };
  const updates = [{ taskId: 't1', statusJson: '{"state":"running","atMs":1,"message":"m"}' }];
  const said: AgentMessage[] = [
    { body: { $case: 'hello', value: { contentKey: new ContentOpener().contentKey, description } } },
    { body: { $case: 'statusReport', value: { sequence: 1, updates } } },
    { body: { $case: 'description', value: description } },
  ];
  return said.map((message) => Buffer.from(AgentMessage.encode(message).finish()));
}

async function openRpc(): Promise<OpenTarget> {
  const { manager, stranger, worker, node, peer, close } = await openRpcDoor();
  const { replica, rootCa } = manager;
  const secret = replica.view.cluster()?.joinSecrets.worker ?? '';
  const joinToken = formatJoinToken({ rootDigest: rootDigestOfPem(rootCa.certificatePem), secret });
  const csrPem = createKeyAndCsr().csrPem;
  const fields = { availability: '', managerAddr: '', formerCertificatePem: '', formerSignature: Buffer.alloc(0) };
  const orders = [
    { csrPem, joinToken, ...fields },
    { csrPem: '', joinToken, ...fields },
    { csrPem, joinToken: '', ...fields, formerCertificatePem: csrPem },
  ].map((order) => Buffer.from(IssueCertificateRequest.encode(order).finish()));

  const samples = sampleMessages();
  const [hello = Buffer.alloc(0)] = samples;
  const order = (bytes: Uint8Array): Promise<Verdict> =>
    new Promise((resolve, reject) => {
      const { path } = NodeCaService.issueCertificate;
      const sent = Buffer.from(bytes);
      stranger.makeUnaryRequest(path, asIs, asIs, sent, { deadline: Date.now() + DEADLINE_MS }, (error) => {
        if (error !== null) return isRefusal(error) ? resolve('refused') : reject(error);
        const asked = IssueCertificateRequest.decode(sent);
        // A certificate is given for the token and for a key that signed, and for nothing else.
        if (asked.joinToken.trim() !== joinToken) reject(new Error(`let in with ${asked.joinToken}`));
        verifiedKeyOf(asked.csrPem);
        resolve('taken');
      });
    });
  const stream = (client: Client, path: string, all: readonly Uint8Array[]): Promise<Verdict> =>
    new Promise((resolve, reject) => {
      const call = client.makeBidiStreamRequest(path, asIs, asIs, greeting(), { deadline: Date.now() + DEADLINE_MS });
      let heard = 0;
      call.on('data', () => {
        if (heard++ === 0) call.end();
      });
      call.on('error', (error: ServiceError) => (isRefusal(error) ? resolve('refused') : reject(error)));
      call.on('end', () => resolve(heard > 0 ? 'taken' : 'refused'));
      for (const bytes of all) call.write(Buffer.from(bytes));
      // A session that has begun well says something, before what is wrong with the rest ends it.
      if (all[0] !== hello) call.end();
    });
  /** What this caller may not do at all is refused whatever it says. */
  const refused = async (client: Client, path: string, all: readonly Uint8Array[]): Promise<Verdict> => {
    const verdict = await stream(client, path, all);
    invariant(verdict === 'refused', `${path} let in who may not`);
    return verdict;
  };
  const session = fc
    .tuple(fc.constantFrom([], [hello]), fc.array(damaged(...samples), { minLength: 1, maxLength: 3 }))
    .map((parts) => parts.flat());
  const frames = fc.array(damaged(...MESSAGE_FRAMES), { maxLength: 3 });
  const ofManagers = fc.constantFrom(
    '/apiary.v1.Raft/Messages',
    '/apiary.v1.Raft/Snapshots',
    '/apiary.v1.Raft/Forward',
  );
  const property = fc.oneof(
    damaged(...orders).map((bytes) => () => order(bytes)),
    session.map((all) => () => stream(node, DispatcherService.session.path, all)),
    session.map((all) => () => stream(worker, DispatcherService.session.path, all)),
    fc.tuple(ofManagers, frames).map(
      ([path, all]) =>
        () =>
          stream(peer, path, all),
    ),
    fc.tuple(fc.constantFrom(stranger, worker), ofManagers, frames).map(
      ([client, path, all]) =>
        () =>
          refused(client, path, all),
    ),
    session.map((all) => () => refused(stranger, DispatcherService.session.path, all)),
  );
  return { property, close };
}

export const RPC_TARGET: Target = { name: 'gRPC services', share: 60, open: openRpc };
