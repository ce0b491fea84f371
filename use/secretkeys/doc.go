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
// All processes see the new key within [Interval], before any of them signs with it, also one that starts meanwhile. So none meets an id
// that it does not know. The limits are at [Open].
//
// The id is the version that the backend names, such as "7" of Vault's KV version 2, or a VersionId of AWS Secrets Manager. It is public,
// and the same in all processes. Environment variables, files, KV version 1, and secrets with a lease have no such version. There, [Fields]
// says which field of the secret is the id.
package secretkeys
