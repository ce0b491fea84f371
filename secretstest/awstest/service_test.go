package awstest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/matryer/is"

	"github.com/seed-5482dd03/secrets/secretstest/awstest"
)

const (
	notFound = "Secrets Manager can't find the specified secret."
	noValue  = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"
	deleted  = "You can't perform this operation on the secret because it was marked for deletion."
	badName  = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
)

// The official examples, in the order in which they make sense, with the SDK's own types.
func TestTheOfficialExamples(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t, awstest.WithRegion("us-west-2"))
	c, _ := newClient(t, s)
	ctx := t.Context()
	const (
		name  = "MyTestDatabaseSecret"
		one   = "EXAMPLE1-90ab-cdef-fedc-ba987SECRET1"
		two   = "EXAMPLE2-90ab-cdef-fedc-ba987EXAMPLE"
		david = `{"username":"david","password":"EXAMPLE-PASSWORD"}`
		lines = "{\n  \"username\":\"david\",\n  \"password\":\"EXAMPLE-PASSWORD\"\n}\n"
	)
	began := time.Now().Truncate(time.Millisecond)

	created, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		ClientRequestToken: aws.String(one), Description: aws.String("My test database secret created with the CLI"),
		Name: aws.String(name), SecretString: aws.String(lines),
		KmsKeyId: aws.String("arn:aws:kms:us-west-2:123456789012:key/EXAMPLE1-90ab-cdef-fedc-ba987KMSKEY1"),
		Tags:     []types.Tag{{Key: aws.String("FirstTag"), Value: aws.String("SomeValue")}},
	})
	is.NoErr(err)
	is.True(regexp.MustCompile(`^arn:aws:secretsmanager:us-west-2:123456789012:secret:MyTestDatabaseSecret-[A-Za-z0-9]{6}$`).MatchString(*created.ARN))
	is.Equal(*created.ARN, s.ARN(name))
	is.Equal(*created.Name, name)
	is.Equal(*created.VersionId, one)

	put, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		ClientRequestToken: aws.String(two), SecretId: aws.String(name), SecretString: aws.String(david),
	})
	is.NoErr(err)
	is.Equal([]string{*put.ARN, *put.Name, *put.VersionId}, []string{s.ARN(name), name, two})
	is.Equal(put.VersionStages, []string{"AWSCURRENT"})

	previous, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(name), VersionStage: aws.String("AWSPREVIOUS")})
	is.NoErr(err)
	is.Equal([]string{*previous.ARN, *previous.Name, *previous.VersionId}, []string{s.ARN(name), name, one})
	is.Equal(*previous.SecretString, lines) // byte for byte
	is.Equal(previous.SecretBinary, nil)
	is.Equal(previous.VersionStages, []string{"AWSPREVIOUS"})
	is.True(!previous.CreatedDate.Before(began) && !previous.CreatedDate.After(time.Now()))

	described, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(name)})
	is.NoErr(err)
	is.Equal([]string{*described.ARN, *described.Name}, []string{s.ARN(name), name})
	is.Equal(*described.Description, "My test database secret created with the CLI")
	is.Equal(*described.KmsKeyId, "arn:aws:kms:us-west-2:123456789012:key/EXAMPLE1-90ab-cdef-fedc-ba987KMSKEY1")
	is.Equal(len(described.Tags), 1)
	is.Equal(*described.Tags[0].Value, "SomeValue")
	is.Equal(described.VersionIdsToStages, map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}})
	is.Equal(*described.LastAccessedDate, time.Now().UTC().Truncate(24*time.Hour))
	is.True(!described.LastChangedDate.Before(began))
	is.Equal(described.DeletedDate, nil)
	is.Equal(described.RotationEnabled, nil)

	// A third version without a label, by the examples of UpdateSecretVersionStage.
	three := s.PutVersion(name, "three")
	stage := func(label, to, from string) error {
		in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: aws.String(name), VersionStage: aws.String(label)}
		if to != "" {
			in.MoveToVersionId = aws.String(to)
		}
		if from != "" {
			in.RemoveFromVersionId = aws.String(from)
		}
		out, err := c.UpdateSecretVersionStage(ctx, in)
		if err == nil {
			is.Equal([]string{*out.ARN, *out.Name}, []string{s.ARN(name), name})
		}
		return err
	}
	is.NoErr(stage("STAGINGLABEL1", three, ""))
	is.Equal(s.VersionID(name, "STAGINGLABEL1"), three)
	is.NoErr(stage("STAGINGLABEL1", "", three))
	is.NoErr(stage("AWSCURRENT", one, two))
	is.Equal(s.VersionID(name, "AWSCURRENT"), one)
	is.Equal(s.VersionID(name, "AWSPREVIOUS"), two)

	versions, err := c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String(name), IncludeDeprecated: aws.Bool(true)})
	is.NoErr(err)
	is.Equal([]string{*versions.ARN, *versions.Name}, []string{s.ARN(name), name})
	is.Equal(len(versions.Versions), 3)
	is.Equal(versions.Versions[2].VersionStages, nil)
	versions, err = c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String(name)})
	is.NoErr(err)
	is.Equal(len(versions.Versions), 2)
	is.Equal(versions.Versions[0].VersionStages, []string{"AWSCURRENT"})

	s.Put("MyTestDatabaseSecret1", "x")
	list, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	is.NoErr(err)
	is.Equal(len(list.SecretList), 2)
	is.Equal(*list.SecretList[0].Name, name)
	is.Equal(list.SecretList[0].SecretVersionsToStages, map[string][]string{two: {"AWSPREVIOUS"}, one: {"AWSCURRENT"}})
	is.Equal(*list.SecretList[1].ARN, s.ARN("MyTestDatabaseSecret1"))
	is.Equal(list.NextToken, nil)

	gone, err := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{RecoveryWindowInDays: aws.Int64(7), SecretId: aws.String("MyTestDatabaseSecret1")})
	is.NoErr(err)
	is.Equal([]string{*gone.ARN, *gone.Name}, []string{s.ARN("MyTestDatabaseSecret1"), "MyTestDatabaseSecret1"})
	is.True(time.Until(*gone.DeletionDate) > 6*24*time.Hour && time.Until(*gone.DeletionDate) < 8*24*time.Hour)
	restored, err := c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: aws.String("MyTestDatabaseSecret1")})
	is.NoErr(err)
	is.Equal([]string{*restored.ARN, *restored.Name}, []string{s.ARN("MyTestDatabaseSecret1"), "MyTestDatabaseSecret1"})
	value, _, _ := get(t, c, "MyTestDatabaseSecret1")
	is.Equal(value, "x")
}

// Just what goes over the wire, below what the SDK makes of it.
func TestTheWireFormat(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, w := newClient(t, s)
	const text = "<a href=\"x\">ä & 1e400</a>\n"
	id := s.Put("text", text)
	s.PutBinary("binary", []byte{0, 0xff, '\n'})
	get(t, c, "text")

	var got map[string]any
	is.NoErr(json.Unmarshal([]byte(w.last()), &got))
	is.True(regexp.MustCompile(`"CreatedDate":\d{10}(\.\d{1,3})?,`).MatchString(w.last())) // seconds, no exponent
	is.True(strings.Contains(w.last(), `"SecretString":"<a href=\"x\">ä & 1e400</a>\n"`))  // no escapes of HTML
	delete(got, "CreatedDate")
	is.Equal(got, map[string]any{
		"ARN": s.ARN("text"), "Name": "text", "SecretString": text, "VersionId": id, "VersionStages": []any{"AWSCURRENT"},
	})
	is.Equal(w.header.Get("Content-Type"), "application/x-amz-json-1.1")
	is.True(regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(w.header.Get("X-Amzn-Requestid")))
	is.True(w.header.Get("Date") != "")

	out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("binary")})
	is.NoErr(err)
	is.Equal(out.SecretBinary, []byte{0, 0xff, '\n'})
	is.Equal(out.SecretString, nil)
	is.True(strings.Contains(w.last(), `"SecretBinary":"AP8K"`))
	is.True(!strings.Contains(w.last(), "SecretString"))

	get(t, c, "absent")
	is.Equal(w.last(), `{"Message":"Secrets Manager can't find the specified secret.","__type":"ResourceNotFoundException"}`)
}

func TestErrorsOfReading(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	first := s.Put("db", "one")
	s.Put("db", "two")
	s.Put("db-a1b2c3", "trap")
	s.Create("empty")
	s.Put("new", "only")
	s.Put("gone", "x")
	s.Delete("gone")
	other := s.In("eu-west-1")
	other.Put("db", "elsewhere")
	absent := strings.Repeat("0", 36)

	for _, tc := range []struct {
		name               string
		id, version, stage string
		code, message      string
		as                 any
	}{
		{"no such secret", "absent", "", "", "ResourceNotFoundException", notFound, new(*types.ResourceNotFoundException)},
		{"no value", "empty", "", "", "ResourceNotFoundException", noValue, new(*types.ResourceNotFoundException)},
		{"no such stage", "new", "", "AWSPREVIOUS", "ResourceNotFoundException", strings.Replace(noValue, "AWSCURRENT", "AWSPREVIOUS", 1), new(*types.ResourceNotFoundException)},
		{"no such version", "db", absent, "", "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: " + absent, new(*types.ResourceNotFoundException)},
		{"marked for deletion", "gone", "", "", "InvalidRequestException", deleted, new(*types.InvalidRequestException)},
		{"stage of another version", "db", first, "AWSCURRENT", "InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.", new(*types.InvalidRequestException)},
		{"a field", "db#user", "", "", "ValidationException", badName, nil},
		{"no ARN", "arn:db", "", "", "ValidationException", badName, nil},
		{"a hostile ARN", "arn:aws:secretsmanager:evil.com/#:123456789012:secret:db", "", "", "ResourceNotFoundException", notFound, nil},
		{"an ARN of another region", other.ARN("db"), "", "", "ResourceNotFoundException", notFound, nil},
		{"an ARN of another account", strings.Replace(s.ARN("db"), "123456789012", "210987654321", 1), "", "", "AccessDeniedException", "User: arn:aws:iam::123456789012:user/app is not authorized to perform: secretsmanager:GetSecretValue on resource: " + strings.Replace(s.ARN("db"), "123456789012", "210987654321", 1) + " because no resource-based policy allows the secretsmanager:GetSecretValue action", nil},
		{"a part of a name", strings.TrimSuffix(partial(s.ARN("db")), "b"), "", "", "ResourceNotFoundException", notFound, nil},
		{"a partial ARN that looks complete", partial(s.ARN("db-a1b2c3")), "", "", "ResourceNotFoundException", notFound, nil},
		{"the end of an ARN as a name", "db" + s.ARN("db")[len(s.ARN("db"))-7:], "", "", "ResourceNotFoundException", notFound, nil},
		{"an id that is too long", strings.Repeat("x", 2049), "", "", "ValidationException", "1 validation error detected: Value '" + strings.Repeat("x", 2049) + "' at 'secretId' failed to satisfy constraint: Member must have length less than or equal to 2048", nil},
		{"a version that is no id", "db", "1", "", "ValidationException", "1 validation error detected: Value '1' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			in := &secretsmanager.GetSecretValueInput{SecretId: &tc.id}
			if tc.version != "" {
				in.VersionId = &tc.version
			}
			if tc.stage != "" {
				in.VersionStage = &tc.stage
			}
			_, err := c.GetSecretValue(t.Context(), in)
			code, message, status := apiError(t, err)
			is.Equal(code, tc.code)
			is.Equal(message, tc.message)
			is.Equal(status, http.StatusBadRequest) // never 404
			if tc.as != nil {
				is.True(errors.As(err, tc.as))
			}
		})
	}

	// The control: what is right is found.
	for id, want := range map[string]string{
		"db": "two", s.ARN("db"): "two", partial(s.ARN("db")): "two", "db-a1b2c3": "trap", s.ARN("db-a1b2c3"): "trap", "new": "only",
	} {
		t.Run("found by "+id, func(t *testing.T) {
			value, code, message := get(t, c, id)
			is.New(t).Equal([]string{value, code, message}, []string{want, "", ""})
		})
	}
}

// partial returns an ARN without its suffix.
func partial(arn string) string { return arn[:len(arn)-7] }

func TestNames(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	for name, code := range map[string]string{
		"Valid/_+=.@-Name-a1b2": "", "rds!cluster-1": "", "a": "", strings.Repeat("n", 512): "",
		"a#b": "ValidationException", "a:b": "ValidationException", "a b": "ValidationException", "ä": "ValidationException",
		"a?b": "ValidationException", "": "ValidationException", strings.Repeat("n", 513): "ValidationException",
	} {
		t.Run(fmt.Sprintf("%.30q", name), func(t *testing.T) {
			is := is.New(t)
			_, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("x")})
			if code == "" {
				is.NoErr(err)
				value, _, _ := get(t, c, name)
				is.Equal(value, "x")
				return
			}
			got, _, _ := apiError(t, err)
			is.Equal(got, code)
		})
	}
}

func TestLimitsOfWriting(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	s.Put("db", "old")
	stages := make([]string, 21)
	for i := range stages {
		stages[i] = fmt.Sprintf("S%02d", i)
	}
	for _, tc := range []struct {
		name string
		in   secretsmanager.PutSecretValueInput
		code string
	}{
		{"the greatest text", secretsmanager.PutSecretValueInput{SecretString: aws.String(strings.Repeat("x", 65536))}, ""},
		{"a greater text", secretsmanager.PutSecretValueInput{SecretString: aws.String(strings.Repeat("canary", 10923))}, "ValidationException"},
		{"the greatest binary", secretsmanager.PutSecretValueInput{SecretBinary: make([]byte, 65536)}, ""},
		{"a greater binary", secretsmanager.PutSecretValueInput{SecretBinary: make([]byte, 65537)}, "ValidationException"},
		{"an empty text", secretsmanager.PutSecretValueInput{SecretString: aws.String("")}, "ValidationException"},
		{"nothing", secretsmanager.PutSecretValueInput{}, "InvalidRequestException"},
		{"both", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), SecretBinary: []byte("x")}, "InvalidParameterException"},
		{"a token that is too short", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), ClientRequestToken: aws.String("1")}, "ValidationException"},
		{"20 stages", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: stages[:20]}, ""},
		{"21 stages", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: stages}, "ValidationException"},
		{"a long stage", secretsmanager.PutSecretValueInput{SecretString: aws.String("x"), VersionStages: []string{strings.Repeat("s", 257)}}, "ValidationException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			tc.in.SecretId = aws.String("db")
			_, err := c.PutSecretValue(t.Context(), &tc.in)
			if tc.code == "" {
				is.NoErr(err)
				return
			}
			code, message, _ := apiError(t, err)
			is.Equal(code, tc.code)
			is.True(!strings.Contains(message, "canary")) // a value stands in no message
		})
	}
	t.Run("the 21st stage of a version", func(t *testing.T) {
		is := is.New(t)
		id := s.PutVersion("full", "x", stages[:20]...)
		_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String("full"), VersionStage: aws.String("S20"), MoveToVersionId: &id,
		})
		is.True(errors.As(err, new(*types.LimitExceededException)))
	})
}

func TestWritingTwice(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ctx := t.Context()
	token := strings.Repeat("t", 32)
	create := func(value, token string) error {
		_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: &value, ClientRequestToken: &token})
		return err
	}
	put := func(value, token string) error {
		_, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: &value, ClientRequestToken: &token})
		return err
	}
	is.NoErr(create("one", token))
	is.NoErr(create("one", token)) // the same again is nothing
	is.True(errors.As(create("two", token), new(*types.ResourceExistsException)))
	_, message, _ := apiError(t, create("one", strings.Repeat("u", 32)))
	is.Equal(message, "The operation failed because the secret db already exists.")

	is.NoErr(put("one", token))
	is.True(errors.As(put("two", token), new(*types.ResourceExistsException)))
	is.NoErr(put("two", strings.Repeat("v", 32)))
	is.Equal(s.VersionID("db", "AWSPREVIOUS"), token)
	is.NoErr(put("one", token)) // of an old version, too: nothing moves
	value, _, _ := get(t, c, "db")
	is.Equal(value, "two")

	s.Delete("db")
	code, message, _ := apiError(t, create("one", token))
	is.Equal(code, "InvalidRequestException")
	is.Equal(message, "You can't create this secret because a secret with this name is already scheduled for deletion.")
	_, message, _ = apiError(t, put("three", strings.Repeat("w", 32)))
	is.Equal(message, deleted)
}

func TestASecretWithoutAValue(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, w := newClient(t, s)
	_, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("empty")})
	is.NoErr(err)
	is.True(!strings.Contains(w.last(), "VersionId"))
	_, err = c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("empty")})
	is.NoErr(err)
	is.True(!strings.Contains(w.last(), "VersionIdsToStages"))

	// The first version is AWSCURRENT whatever it is meant to be.
	out, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("empty"), SecretString: aws.String("x"), VersionStages: []string{"AWSPENDING"},
	})
	is.NoErr(err)
	is.Equal(out.VersionStages, []string{"AWSCURRENT", "AWSPENDING"})
}

func TestDeletion(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ctx := t.Context()
	s.Put("db", "x")
	del := func(days int64, force bool) error {
		in := &secretsmanager.DeleteSecretInput{SecretId: aws.String("db")}
		if days != 0 {
			in.RecoveryWindowInDays = &days
		}
		if force {
			in.ForceDeleteWithoutRecovery = &force
		}
		_, err := c.DeleteSecret(ctx, in)
		return err
	}
	for _, err := range []error{del(6, false), del(31, false), del(7, true)} {
		is.True(errors.As(err, new(*types.InvalidParameterException)))
	}
	is.NoErr(del(0, false))
	is.True(errors.As(del(0, false), new(*types.InvalidRequestException)))
	_, _, message := get(t, c, "db")
	is.Equal(message, deleted)

	described, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("db")})
	is.NoErr(err)
	is.True(described.DeletedDate != nil)
	list, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	is.NoErr(err)
	is.Equal(len(list.SecretList), 0)
	list, err = c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)})
	is.NoErr(err)
	is.Equal(len(list.SecretList), 1)

	s.Restore("db")
	value, _, _ := get(t, c, "db")
	is.Equal(value, "x")
	arn := s.ARN("db")
	is.NoErr(del(0, true))
	is.NoErr(del(0, true)) // what is not there needs no deletion
	_, _, message = get(t, c, "db")
	is.Equal(message, notFound)
	is.True(errors.As(del(0, false), new(*types.ResourceNotFoundException)))

	s.Put("db", "y")
	is.True(s.ARN("db") != arn)
	_, _, message = get(t, c, arn) // the ARN of what was deleted
	is.Equal(message, notFound)
	s.Delete("db")
	s.Put("db", "z")
	value, _, _ = get(t, c, "db")
	is.Equal(value, "z")
	s.Remove("db")
	_, _, message = get(t, c, "db")
	is.Equal(message, notFound)
}

func TestStages(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	stages := func(id string) []string {
		out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db"), VersionId: &id})
		is.NoErr(err)
		return out.VersionStages
	}
	one := s.Put("db", "one")
	two := s.PutVersion("db", "two", "AWSPENDING")
	is.Equal([][]string{stages(one), stages(two)}, [][]string{{"AWSCURRENT"}, {"AWSPENDING"}})
	s.Promote("db")
	is.Equal([][]string{stages(one), stages(two)}, [][]string{{"AWSPREVIOUS"}, {"AWSCURRENT", "AWSPENDING"}})
	three := s.PutVersion("db", "three", "AWSPENDING")
	s.Promote("db")
	is.Equal([][]string{stages(one), stages(two), stages(three)}, [][]string{nil, {"AWSPREVIOUS"}, {"AWSCURRENT", "AWSPENDING"}})
	s.Unstage("db", "AWSPENDING")
	s.Stage("db", two, "AWSCURRENT") // a rollback
	is.Equal([][]string{stages(two), stages(three)}, [][]string{{"AWSCURRENT"}, {"AWSPREVIOUS"}})

	update := func(stage string, to, from *string) error {
		_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: aws.String("db"), VersionStage: &stage, MoveToVersionId: to, RemoveFromVersionId: from,
		})
		return err
	}
	_, message, _ := apiError(t, update("AWSCURRENT", &three, nil))
	is.Equal(message, "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version "+two+
		", so you must explicitly reference that version in RemoveFromVersionId.")
	is.True(errors.As(update("AWSCURRENT", &three, &one), new(*types.InvalidParameterException)))
	is.True(errors.As(update("AWSCURRENT", nil, &two), new(*types.InvalidParameterException)))
	is.True(errors.As(update("X", nil, nil), new(*types.InvalidParameterException)))
	is.True(errors.As(update("X", aws.String(strings.Repeat("0", 36)), nil), new(*types.ResourceNotFoundException)))
	is.NoErr(update("AWSCURRENT", &three, &two)) // the control
	is.Equal(s.VersionID("db", "AWSPREVIOUS"), two)
}

// batch asks for ids, and returns values by name and codes by id.
func batch(t *testing.T, c *secretsmanager.Client, ids ...string) (names []string, values, codes map[string]string) {
	t.Helper()
	is := is.New(t)
	out, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
	is.NoErr(err)
	values, codes = map[string]string{}, map[string]string{}
	for _, v := range out.SecretValues {
		names = append(names, *v.Name)
		values[*v.Name] = aws.ToString(v.SecretString) + string(v.SecretBinary)
	}
	for _, e := range out.Errors {
		_, twice := codes[*e.SecretId]
		is.True(!twice)
		codes[*e.SecretId] = *e.ErrorCode + ": " + *e.Message
	}
	return names, values, codes
}

func TestBatch(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	s.Put("b", "B")
	s.Put("a", "A")
	s.PutBinary("c", []byte("C"))
	s.Create("empty")
	s.Put("gone", "x")
	s.Delete("gone")

	names, values, codes := batch(t, c, "c", "b", "absent", "a", s.ARN("b"), partial(s.ARN("b")), "b", "empty", "gone", "absent", "x#y")
	is.Equal(names, []string{"a", "b", "c"}) // once each, and not in the order of the request
	is.Equal(values, map[string]string{"a": "A", "b": "B", "c": "C"})
	is.Equal(codes, map[string]string{
		"absent": "ResourceNotFoundException: " + notFound,
		"empty":  "ResourceNotFoundException: " + noValue,
		"gone":   "InvalidRequestException: " + deleted,
		"x#y":    "InvalidParameterException: " + badName,
	})

	filters := []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"a", "b"}}}
	for _, in := range []*secretsmanager.BatchGetSecretValueInput{
		{},
		{SecretIdList: []string{"a"}, Filters: filters},
		{SecretIdList: []string{"a"}, MaxResults: aws.Int32(1)},
		{SecretIdList: strings.Split(strings.Repeat("a ", 20)+"b", " ")},
	} {
		_, err := c.BatchGetSecretValue(t.Context(), in)
		is.True(errors.As(err, new(*types.InvalidParameterException)))
	}
	_, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(21)})
	code, _, _ := apiError(t, err)
	is.Equal(code, "ValidationException")
	batch(t, c, strings.Split(strings.Repeat("a ", 19)+"b", " ")...) // 20 are allowed

	out, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(1)})
	is.NoErr(err)
	is.Equal(len(out.SecretValues), 1)
	is.Equal(*out.SecretValues[0].Name, "a")
	is.True(out.NextToken != nil)
	out, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(1), NextToken: out.NextToken})
	is.NoErr(err)
	is.Equal(*out.SecretValues[0].Name, "b")
	is.Equal(out.NextToken, nil)
}

func TestPages(t *testing.T) {
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	ids := []string{"absent"}
	for i := range 7 {
		ids = append(ids, fmt.Sprintf("s%d", i))
		s.Put(fmt.Sprintf("s%d", i), "x")
	}
	for _, tc := range []struct {
		sizes []int
		want  []int
	}{
		{nil, []int{8}},
		{[]int{3}, []int{3, 3, 2}},
		{[]int{0, 5}, []int{0, 5, 3}},
		{[]int{8, 0, 0}, []int{8, 0, 0}},
		{[]int{1, 0, 20}, []int{1, 0, 7}},
	} {
		t.Run(fmt.Sprint(tc.sizes), func(t *testing.T) {
			is := is.New(t)
			s.SetPages(tc.sizes...)
			var sizes []int
			seen := map[string]bool{}
			pages := secretsmanager.NewBatchGetSecretValuePaginator(c, &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				is.NoErr(err)
				sizes = append(sizes, len(page.SecretValues)+len(page.Errors))
				for _, v := range page.SecretValues {
					seen[*v.Name] = true
				}
			}
			is.Equal(sizes, tc.want)
			is.Equal(len(seen), 7)
		})
	}
	t.Run("without end", func(t *testing.T) {
		is := is.New(t)
		in := &secretsmanager.ListSecretsInput{}
		s.SetPages(0)
		tokens := map[string]bool{}
		for range 50 {
			out, err := c.ListSecrets(t.Context(), in)
			is.NoErr(err)
			is.Equal(len(out.SecretList), 0)
			tokens[*out.NextToken] = true
			in.NextToken = out.NextToken
		}
		is.Equal(len(tokens), 50)
	})
	t.Run("a repeated token", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		s.RepeatToken(true)
		defer s.Recover()
		in := &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids}
		first, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		in.NextToken = first.NextToken
		second, err := c.BatchGetSecretValue(t.Context(), in)
		is.NoErr(err)
		is.Equal(*second.NextToken, *first.NextToken)
		is.Equal(len(second.SecretValues), len(first.SecretValues))
	})
	t.Run("a token of something else", func(t *testing.T) {
		is := is.New(t)
		s.SetPages(3)
		defer s.Recover()
		first, err := c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids})
		is.NoErr(err)
		_, err = c.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: ids[1:], NextToken: first.NextToken})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
		_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: first.NextToken})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
		_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{NextToken: aws.String("junk")})
		is.True(errors.As(err, new(*types.InvalidNextTokenException)))
	})
}

func TestListSecretsFiltersAndSorts(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	c, _ := newClient(t, s)
	for _, in := range []secretsmanager.CreateSecretInput{
		{Name: aws.String("prod/b"), Description: aws.String("Database"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("core")}}},
		{Name: aws.String("prod/a"), Description: aws.String("Queue")},
		{Name: aws.String("dev/a"), Description: aws.String("database")},
	} {
		_, err := c.CreateSecret(t.Context(), &in)
		is.NoErr(err)
	}
	list := func(in secretsmanager.ListSecretsInput) (names []string) {
		for pages := secretsmanager.NewListSecretsPaginator(c, &in); pages.HasMorePages(); {
			out, err := pages.NextPage(t.Context())
			is.NoErr(err)
			for _, s := range out.SecretList {
				names = append(names, *s.Name)
			}
		}
		return names
	}
	filter := func(key types.FilterNameStringType, values ...string) types.Filter {
		return types.Filter{Key: key, Values: values}
	}
	for _, tc := range []struct {
		in   secretsmanager.ListSecretsInput
		want string
	}{
		{secretsmanager.ListSecretsInput{}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1)}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName}, "dev/a prod/a prod/b"},
		{secretsmanager.ListSecretsInput{SortBy: types.SortByTypeName, SortOrder: types.SortOrderTypeDesc}, "prod/b prod/a dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "prod")}}, "prod/b prod/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "!prod")}}, "dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "PROD")}}, ""},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("description", "DATA")}}, "prod/b dev/a"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("description", "DATA"), filter("name", "prod")}}, "prod/b"},
		{secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "te"), filter("tag-value", "core")}}, "prod/b"},
	} {
		is.Equal(strings.Join(list(tc.in), " "), tc.want)
	}
	_, err := c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("all", "x")}})
	is.True(errors.As(err, new(*types.InvalidParameterException)))
	_, err = c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(101)})
	is.True(err != nil)
}

// torn reports whether a value is made of two versions.
func torn(value string) bool {
	user, password, ok := strings.Cut(value, ":")
	return !ok || user != password
}

func TestARotationIsNeverSeenHalf(t *testing.T) {
	is := is.New(t)
	is.True(torn("1:2")) // the control
	s := awstest.NewServer(t)
	s.Put("db", "0:0")
	c, _ := newClient(t, s)
	const rotations = 40
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("db")})
				if err != nil || torn(*out.SecretString) || !slices.Contains(out.VersionStages, "AWSCURRENT") {
					t.Errorf("torn: %v %v", out, err)
					return
				}
			}
		})
	}
	for i := range rotations {
		if i%2 == 0 {
			s.PutVersion("db", fmt.Sprintf("%d:%d", i, i), "AWSPENDING")
			s.Promote("db")
		} else {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String("db"), SecretString: aws.String(fmt.Sprintf("%d:%d", i, i))})
			is.NoErr(err)
		}
		_, _, codes := batch(t, c, "db")
		is.Equal(len(codes), 0)
	}
	close(done)
	readers.Wait()
	is.Equal(s.Count("PutSecretValue"), rotations/2)
}

func TestRegions(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t, awstest.WithAccount("111122223333"))
	eu, china := s.In("eu-west-1"), s.In("cn-north-1")
	s.Put("db", "us")
	eu.Put("db", "eu")
	china.Put("db", "cn")
	for server, want := range map[*awstest.Server]string{s: "us", eu: "eu", china: "cn"} {
		c, _ := newClient(t, server)
		value, _, _ := get(t, c, server.ARN("db"))
		is.Equal(value, want)
	}
	is.True(strings.HasPrefix(eu.ARN("db"), "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-"))
	is.True(strings.HasPrefix(china.ARN("db"), "arn:aws-cn:secretsmanager:cn-north-1:111122223333:secret:db-"))
	is.Equal(s.In("us-east-1").ARN("db"), s.ARN("db"))

	c, _ := newClient(t, s, func(o *secretsmanager.Options) { o.Region = "ap-south-1" })
	_, code, message := get(t, c, "db")
	is.Equal([]string{code, message}, []string{"InvalidSignatureException", "Credential should be scoped to a valid region."})
	is.Equal(s.Calls()[len(s.Calls())-1].Region, "ap-south-1")
}

// What fails everywhere in the same way.
func TestErrorsOfEveryOperation(t *testing.T) {
	s := awstest.NewServer(t)
	s.Put("gone", "x")
	s.Delete("gone")
	c, _ := newClient(t, s)
	version := aws.String(strings.Repeat("0", 36))
	operations := map[string]func(id *string) error{
		"GetSecretValue": func(id *string) error {
			_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id})
			return err
		},
		"DescribeSecret": func(id *string) error {
			_, err := c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id})
			return err
		},
		"ListSecretVersionIds": func(id *string) error {
			_, err := c.ListSecretVersionIds(t.Context(), &secretsmanager.ListSecretVersionIdsInput{SecretId: id})
			return err
		},
		"PutSecretValue": func(id *string) error {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("x")})
			return err
		},
		"UpdateSecretVersionStage": func(id *string) error {
			_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("X"), MoveToVersionId: version})
			return err
		},
		"DeleteSecret": func(id *string) error {
			_, err := c.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: id})
			return err
		},
		"RestoreSecret": func(id *string) error {
			_, err := c.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: id})
			return err
		},
	}
	for name, call := range operations {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			code, message, status := apiError(t, call(aws.String("absent")))
			is.Equal(code, "ResourceNotFoundException")
			is.Equal(message, notFound)
			is.Equal(status, http.StatusBadRequest)
			code, _, _ = apiError(t, call(aws.String("a#b")))
			is.Equal(code, "ValidationException")
			if slices.Contains([]string{"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage", "DeleteSecret"}, name) {
				code, message, _ = apiError(t, call(aws.String("gone")))
				is.Equal(code, "InvalidRequestException")
				is.Equal(message, deleted)
			}
			s.Deny(name, "denied")
			defer s.AllowAll()
			code, _, _ = apiError(t, call(aws.String("denied")))
			is.Equal(code, "AccessDeniedException")
			s.FailNext(1, name, awstest.Fault("InternalServiceError", ""))
			is.True(errors.As(call(aws.String("absent")), new(*types.InternalServiceError)))
			is.Equal(s.Count(name) > 3, true)
		})
	}
	for parameter, body := range map[string]string{
		"secretId":     `{"VersionStage":"X"}`,
		"versionStage": `{"SecretId":"db"}`,
	} {
		t.Run("without "+parameter, func(t *testing.T) {
			is := is.New(t)
			s.Put("db", "x")
			c, _ := newClient(t, s, func(o *secretsmanager.Options) { o.APIOptions = append(o.APIOptions, rewriteBody(body)) })
			_, err := c.UpdateSecretVersionStage(t.Context(), &secretsmanager.UpdateSecretVersionStageInput{
				SecretId: aws.String("db"), VersionStage: aws.String("X"), MoveToVersionId: version,
			})
			code, message, _ := apiError(t, err)
			is.Equal(code, "ValidationException")
			is.Equal(message, "1 validation error detected: Value null at '"+parameter+"' failed to satisfy constraint: Member must not be null")
		})
	}
}
