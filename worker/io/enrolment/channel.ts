import { createSecureContext } from 'node:tls';
import { ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js';

/** What a node shows to be itself: the certificate that a manager issued, its key, and the root both sides trust. */
export interface NodeIdentity {
  nodeId: string;
  clusterId: string;
  role: 'worker' | 'manager';
  /** The node's certificate, then the root, PEM. */
  certificateChainPem: string;
  keyPem: string;
  rootPem: string;
}

/** The name that every manager's certificate carries: a manager is known by its role, whatever its address is. */
export const MANAGER_SERVER_NAME = 'swarm-manager';

/** The most that a manager's message may have: the complete assignments of a node, specs included. */
const MAX_RECEIVED_BYTES = 64 * 1024 * 1024;

/**
 * What a channel to a manager needs, over mutual TLS. The other side must show a manager's certificate of the
 * identity's own cluster; its address may be any. A new identity (a renewed certificate) needs a new channel.
 */
export function managerCredentials(identity: NodeIdentity): {
  credentials: ChannelCredentials;
  options: ChannelOptions;
} {
  const context = createSecureContext({
    ca: identity.rootPem,
    cert: identity.certificateChainPem,
    key: identity.keyPem,
    minVersion: 'TLSv1.3',
  });
  return { credentials: ChannelCredentials.createFromSecureContext(context), options: managerChannelOptions() };
}

/** Channel options towards a manager, whoever calls. */
export function managerChannelOptions(): ChannelOptions {
  return {
    'grpc.ssl_target_name_override': MANAGER_SERVER_NAME,
    // An address names a manager, not a web site: proxies and DNS service configs have no say.
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1_000,
    // A cut link is noticed soon after the managers have another leader, also by a node that waits for assignments.
    'grpc.keepalive_time_ms': 1_500,
    'grpc.keepalive_timeout_ms': 2_000,
    'grpc.max_receive_message_length': MAX_RECEIVED_BYTES,
  };
}
