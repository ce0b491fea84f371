// Package secretkeys holds keys for signing or encryption that rotate while several processes use them.
//
//	keys, err := secretkeys.Open(ctx, client, "signing") // ctx is that of the program
//	if err != nil {
//		return err
//	}
//	defer keys.Close()
//
//	id, key := keys.Active() // sign with key, and write id into the token, as its kid
//
//	key, ok := keys.ByID(kid) // verify a token with the key that its kid names
//	if !ok {
//		return errUnknownKey
//	}
//
// To rotate the key, write a new version of the secret. Each process then goes through the same steps:
//
//	0            it has seen the new key       the new key verifies, the old one signs
//	1 min        [ActivateAfter]               the new key signs, the old one verifies
//	24 h 1 min   [Overlap] later               the old key is gone
//
// All processes see the new key within [Interval], before any of them signs with it, also one that starts meanwhile. Within the limits
// below, no process meets an id that it does not know.
//
// The id is the version that the backend names, such as "7" of Vault's KV version 2, or a VersionId of AWS Secrets Manager. It is public,
// and the same in all processes. Environment variables, files, KV version 1, and secrets with a lease have no such version. There, [Fields]
// says which field of the secret is the id.
//
// # Limits
//
//   - The backend must have answered each process within [ActivateAfter] of a rotation.
//   - The clocks of the backend and of a process must differ by less than ActivateAfter minus Interval. In no case does a start wait for
//     more than ActivateAfter.
//   - AWS says when a version was written, which is before it becomes AWSCURRENT if a function rotates it in steps. Make ActivateAfter
//     longer than these steps and Interval together.
//   - The time between two rotations must be more than Overlap and Interval together: a process that starts knows one version before the
//     current one. With [Fields] and a backend that has versions, this is the time between two versions of the document: each write of it
//     counts, also one that changes neither field.
//   - A version before the current one that is denied counts as missing: a process that starts signs with the current one at once. The
//     policy on AWS must allow AWSPREVIOUS and AWSPENDING.
//   - AWS does not say when AWSCURRENT was moved back to an older version. A process that starts less than ActivateAfter later signs with
//     that one at once. Peers do not know it yet if it was replaced more than Overlap ago. So write the old key as a new version instead,
//     or restart no process for ActivateAfter. In Vault, a rollback is a new version.
//   - Files, environment variables and KV version 1 keep no version before the current one, and do not say when it was created. A process
//     that starts knows the current key alone: it signs at once, maybe before others have seen the key, and refuses what an older key has
//     signed.
//   - With a fallback, a process that starts while another backend answers knows the versions of that one.
//
// # A key that has leaked
//
// To end it:
//
//  1. Rotate: write a new version.
//  2. Take the old version away: delete it in Vault; on AWS, where a version is not deleted, remove the stage AWSPREVIOUS from it.
//  3. Restart all processes. They sign with the new key at once, and refuse what the old one has signed.
//
// Processes that run go on with the keys that they have. Do not delete the current version instead: then [Open] fails everywhere.
package secretkeys
