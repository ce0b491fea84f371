package awssm_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/backend/awssm"
)

// Locate names what the service is asked for.
func TestLocateNamesWhatIsAskedFor(t *testing.T) {
	const arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:database-AbCdEf"
	for key, want := range map[string]string{
		"database":                              "prod/shop/database",
		"database/main#password":                "prod/shop/database/main",
		"database?version=AWSPREVIOUS#password": "prod/shop/database",
		arn + "#password":                       arn,
	} {
		is := is.New(t)
		server, _, b := service(t, 0, awssm.WithPrefix("prod/shop/"))
		ref, err := secrets.ParseRef(key)
		is.NoErr(err)
		is.Equal(b.Info().Locate(ref), []string{want})
		is.Equal(server.Count("*"), 0) // Locate makes no calls
		_, err = client(t, b).Get(t.Context(), key)
		is.Equal(secrets.Class(err), secrets.ErrNotFound)
		is.Equal(server.Calls()[0].IDs, []string{want})
	}
	_, _, b := service(t, 0)
	for _, path := range []string{"with space", "arn:aws:s3:::bucket", "star*", "q?", "${aws:username}"} {
		is.New(t).Equal(len(b.Info().Locate(secrets.Ref{Path: path})), 0)
	}
}
