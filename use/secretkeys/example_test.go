package secretkeys_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
	"github.com/seed-5482dd03/secrets/use/secretkeys"
)

// mac returns the signature of a message.
func mac(key secrets.Secret, message string) string {
	h := hmac.New(sha256.New, key.Bytes())
	h.Write([]byte(message))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// sign returns a token: the id of the key, the message, and the signature of both.
func sign(keys *secretkeys.Keys, message string) string {
	kid, key := keys.Active()
	message = kid + "." + message
	return message + "." + mac(key, message)
}

// verify returns the message of a token.
func verify(keys *secretkeys.Keys, token string) (message string, ok bool) {
	end := strings.LastIndex(token, ".")
	if end < 0 {
		return "", false
	}
	kid, message, _ := strings.Cut(token[:end], ".")
	key, ok := keys.ByID(kid)
	if !ok || !hmac.Equal([]byte(token[end+1:]), []byte(mac(key, token[:end]))) {
		return "", false
	}
	return message, true
}

func ExampleOpen() {
	ctx := context.Background() // the program's context
	backend := secretstest.NewBackend(map[string]string{"signing": "8f1d0c6e5b7a49328f1d0c6e5b7a4932"})
	client, err := secrets.New(backend)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	keys, err := secretkeys.Open(ctx, client, "signing")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()

	token := sign(keys, "user=ada")
	fmt.Println(token)
	fmt.Println(verify(keys, token))
	fmt.Println(verify(keys, strings.Replace(token, "ada", "eve", 1)))
	// Output:
	// 1.user=ada.2T8BEDRUUAj_fsfGVzdPlVhCT_MbKBr984XqFToOJpg
	// user=ada true
	//  false
}
