package awstest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
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

// The official examples in a sensible order, with the SDK's own types.
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
		ClientRequestToken: aws.String(one), Name: aws.String(name), SecretString: aws.String(lines),
	})
	is.NoErr(err)
	arn := regexp.MustCompile(`^arn:aws:secretsmanager:us-west-2:123456789012:secret:MyTestDatabaseSecret-[A-Za-z0-9]{6}$`)
	is.True(arn.MatchString(*created.ARN))
	is.Equal(*created.ARN, s.ARN(name))
	is.Equal(*created.Name, name)
	is.Equal(*created.VersionId, one)

	put, err := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		ClientRequestToken: aws.String(two), SecretId: aws.String(name), SecretString: aws.String(david),
	})
	is.NoErr(err)
	is.Equal([]string{*put.ARN, *put.Name, *put.VersionId}, []string{s.ARN(name), name, two})
	is.Equal(put.VersionStages, []string{"AWSCURRENT"})

	previous, err := c.GetSecretValue(ctx,
		&secretsmanager.GetSecretValueInput{SecretId: aws.String(name), VersionStage: aws.String("AWSPREVIOUS")})
	is.NoErr(err)
	is.Equal([]string{*previous.ARN, *previous.Name, *previous.VersionId}, []string{s.ARN(name), name, one})
	is.Equal(*previous.SecretString, lines) // byte for byte
	is.Equal(previous.SecretBinary, nil)
	is.Equal(previous.VersionStages, []string{"AWSPREVIOUS"})
	is.True(!previous.CreatedDate.Before(began) && !previous.CreatedDate.After(time.Now()))

	described, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(name)})
	is.NoErr(err)
	is.Equal([]string{*described.ARN, *described.Name}, []string{s.ARN(name), name})
	is.Equal(described.VersionIdsToStages, map[string][]string{one: {"AWSPREVIOUS"}, two: {"AWSCURRENT"}})
	is.Equal(*described.LastAccessedDate, time.Now().UTC().Truncate(24*time.Hour))
	is.True(!described.LastChangedDate.Before(began))
	is.Equal(described.DeletedDate, nil)
	is.Equal(described.RotationEnabled, nil)

	// The examples of UpdateSecretVersionStage, with a third version without a label.
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
}

// The exact bytes on the wire, before the SDK decodes them.
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
	is.True(strings.Contains(w.last(), `"SecretString":"<a href=\"x\">ä & 1e400</a>\n"`))  // no HTML escapes
	delete(got, "CreatedDate")
	is.Equal(got, map[string]any{
		"ARN": s.ARN("text"), "Name": "text", "SecretString": text, "VersionId": id, "VersionStages": []any{"AWSCURRENT"},
	})
	is.Equal(w.header.Get("Content-Type"), "application/x-amz-json-1.1")
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	is.True(uuid.MatchString(w.header.Get("X-Amzn-Requestid")))
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

func TestRegions(t *testing.T) {
	is := is.New(t)
	s := awstest.NewServer(t)
	eu, china := s.In("eu-west-1"), s.In("cn-north-1")
	s.Put("db", "us")
	eu.Put("db", "eu")
	china.Put("db", "cn")
	for server, want := range map[*awstest.Server]string{s: "us", eu: "eu", china: "cn"} {
		c, _ := newClient(t, server)
		value, _, _ := get(t, c, server.ARN("db"))
		is.Equal(value, want)
	}
	is.True(strings.HasPrefix(eu.ARN("db"), "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-"))
	is.True(strings.HasPrefix(china.ARN("db"), "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:db-"))
	is.Equal(s.In("us-east-1").ARN("db"), s.ARN("db"))

	c, _ := newClient(t, s, func(o *secretsmanager.Options) { o.Region = "ap-south-1" })
	_, code, message := get(t, c, "db")
	is.Equal([]string{code, message}, []string{"InvalidSignatureException", "Credential should be scoped to a valid region."})
	is.Equal(s.Calls()[len(s.Calls())-1].Region, "ap-south-1")
}

// Errors that all operations share.
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
		"PutSecretValue": func(id *string) error {
			_, err := c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("x")})
			return err
		},
		"UpdateSecretVersionStage": func(id *string) error {
			_, err := c.UpdateSecretVersionStage(t.Context(),
				&secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("X"), MoveToVersionId: version})
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
			if slices.Contains([]string{"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"}, name) {
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
