// Package secretshttp adds a credential, such as an API key, to HTTP requests and handles its rotation.
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
// # What it does
//
// The credential goes only to the hosts of [Hosts], by https. In a test, pass server.URL. A request to any other host is sent without the
// credential, and without an error.
//
// [http.Client] calls the transport for each hop of a redirect, and the transport checks each hop. A redirect to another host carries no
// credential, whether it is in a header, a cookie or a query parameter. Later hops carry none either, even back at an allowed host: the
// other host has chosen that request.
//
// If the server answers 401, the transport gets another credential with [secrets.Client.Do] and repeats the request. Concurrent requests
// with the same refused credential share one refresh.
//
// The caller's request and the Request of the response never hold the credential, so both may be logged.
//
// # Errors
//
// The program gets a 401 only if there is no other credential, if all are refused, or if the request cannot be repeated. A request with a
// body needs GetBody for that. To avoid that, let the server accept the old and the new key for a while, or change the secret first.
//
// If a server reports a missing credential, compare scheme, host and port of each hop with [Hosts].
//
// # Limits
//
// The RoundTripper below the transport sees the credential; so does a proxy for a plain-http entry of [Hosts]. A credential in a query is
// in the server's logs: prefer a header.
package secretshttp
