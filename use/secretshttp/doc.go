// Package secretshttp sets a credential, such as an API key, on HTTP requests, and survives its rotation.
//
//	client := &http.Client{
//		Transport: secretshttp.Transport(nil, secretsClient, "billing#api_key",
//			func(r *http.Request, s secrets.Secret) error {
//				r.Header.Set("Authorization", "Bearer "+s.Reveal())
//				return nil
//			},
//			secretshttp.Hosts("billing.example.com"),
//		),
//	}
//	resp, err := client.Get("https://billing.example.com/invoices")
//
// The credential goes to the named hosts only, by https. [http.Client] calls the transport once for each hop of a redirect, so each hop
// is checked: a redirect to another host carries no credential, whatever header, cookie or query parameter holds it. After such a hop, no
// hop carries one, also back at a named host: the other host has chosen that request.
//
// A request to any other host goes on without the credential, and without an error. If a server says that the credential is missing,
// compare scheme, host and port of each hop with [Hosts]. In a test, pass server.URL.
//
// If the server answers 401, the transport asks for another credential with [secrets.Client.Do] and repeats the request. Concurrent
// requests with the same refused credential share one refresh. The program sees a 401 only if there is no other credential, if all are
// refused, or if the request cannot be repeated, because it has a body and no GetBody. So let the server accept the old and the new key
// for a while, or change the secret first.
//
// The request of the caller never holds the credential, nor does the Request of the response. So both may be logged.
package secretshttp
