import * as v from 'valibot';
import { TASK_STATES } from './task-state.js';

/**
 * What an agent tells a manager as JSON. Keys that this version does not know are passed over, not refused: an agent
 * may be newer than its manager, and one odd key must not cost every later report.
 */

const text = v.string();
const whole = v.pipe(v.number(), v.safeInteger());
const count = v.pipe(whole, v.minValue(0));
const labels = v.record(text, text);
const genericResource = v.object({
  NamedResourceSpec: v.optional(v.object({ Kind: text, Value: text })),
  DiscreteResourceSpec: v.optional(v.object({ Kind: text, Value: count })),
});

export const TaskStatusSchema = v.object({
  state: v.picklist(TASK_STATES),
  atMs: v.pipe(v.number(), v.finite()),
  message: text,
  err: v.optional(text),
  container: v.optional(v.object({ id: text, pid: count, exitCode: whole })),
  ports: v.optional(v.array(v.object({ protocol: text, targetPort: count, publishedPort: count }))),
  gatewayAddress: v.optional(v.pipe(v.string(), v.ipv4())),
  gatewayIpv6Address: v.optional(v.pipe(v.string(), v.ipv6())),
});

export const NodeDescriptionSchema = v.object({
  Hostname: text,
  Platform: v.object({ Architecture: text, OS: text }),
  Resources: v.object({ NanoCPUs: count, MemoryBytes: count, GenericResources: v.optional(v.array(genericResource)) }),
  Engine: v.object({
    EngineVersion: text,
    Labels: v.optional(labels),
    Plugins: v.array(v.object({ Type: text, Name: text })),
  }),
  TLSInfo: v.optional(v.object({ TrustRoot: text, CertIssuerSubject: text, CertIssuerPublicKey: text })),
});
