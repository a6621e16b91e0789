/** How a manager connects to another one. */
export const PEER_CHANNEL_OPTIONS = {
  // An address names a manager, not a web site: proxies and DNS service configs have no say.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  // A connection that is silently dead is found out within 2.3 s.
  'grpc.keepalive_time_ms': 1_000,
  'grpc.keepalive_timeout_ms': 1_250,
  'grpc.max_receive_message_length': 4 * 1024 * 1024,
};
