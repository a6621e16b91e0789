import * as v from 'valibot';

/** What a user writes of a network of the cluster: the body of the Engine API's `POST /networks/create`, verbatim. */

const opt = v.optional;
const text = v.string();
const flag = v.boolean();
const texts = v.record(text, text);

/** The engine's driver of the networks by which containers that are no tasks come to attachable ones of the cluster. */
export const ATTACHABLE_DRIVER = 'apiary';

export const NetworkSpecSchema = v.strictObject({
  Name: opt(text, ''),
  CheckDuplicate: opt(flag),
  Driver: opt(text),
  Scope: opt(text),
  EnableIPv4: opt(flag),
  EnableIPv6: opt(flag),
  IPAM: opt(
    v.strictObject({
      Driver: opt(text),
      Options: opt(texts),
      Config: opt(
        v.array(
          v.strictObject({ Subnet: opt(text), IPRange: opt(text), Gateway: opt(text), AuxiliaryAddresses: opt(texts) }),
        ),
      ),
    }),
  ),
  Internal: opt(flag),
  Attachable: opt(flag),
  Ingress: opt(flag),
  ConfigOnly: opt(flag),
  ConfigFrom: opt(v.strictObject({ Network: opt(text) })),
  Options: opt(texts),
  Labels: opt(texts),
});
export type NetworkSpec = v.InferOutput<typeof NetworkSpecSchema>;
