package bind

import (
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-5482dd03/secrets"
	"github.com/seed-5482dd03/secrets/secretstest"
)

type documentOfFuzz struct {
	Max  int
	Idle map[string][]bool
}

// fuzzed returns types of fields, with every detail that an error may contain.
func fuzzed() map[reflect.Type]string {
	return map[reflect.Type]string{
		reflect.TypeFor[secrets.Secret](): "",
		reflect.TypeFor[string]():         "",
		reflect.TypeFor[[]byte]():         "",
		reflect.TypeFor[bool]():           "the value is not a bool such as true or false",
		reflect.TypeFor[int]():            "the value is not a whole number that fits int",
		reflect.TypeFor[*int8]():          "the value is not a whole number that fits int8",
		reflect.TypeFor[uint16]():         "the value is not a whole number that fits uint16",
		reflect.TypeFor[float32]():        "the value is not a number that fits float32",
		reflect.TypeFor[time.Duration]():  "the value is not a duration such as 300ms or 1h30m",
		reflect.TypeFor[*url.URL]():       "the value is not a URL",
		reflect.TypeFor[netip.Addr]():     "the value was refused by UnmarshalText of *netip.Addr",
		reflect.TypeFor[documentOfFuzz](): "",
		reflect.TypeFor[chan int]():       "",
	}
}

// FuzzLoad fills a field of each type, with any tag and value. It must not panic, accept an invalid key or quote the value in an error.
func FuzzLoad(f *testing.F) {
	tags := []string{
		"v", "v#f", "v,optional", "v,json", "v,json,default={}", "v,default=5,6", "", ",", "-", "#", "a/b?version=2#c", "v,x", "v,default=",
	}
	values := []string{
		"", "true", "-129", "65536", "1e39", "1h30m", "http://u:p@h/%zz", "10.0.0.1", `{"Max":"x"}`, `{"f":"5"}`, "\xff\x00", `{"Max":1e99}`,
	}
	for _, tag := range tags {
		for _, value := range values {
			f.Add(tag, value)
		}
	}
	f.Fuzz(func(t *testing.T, tag, value string) {
		for typ, detail := range fuzzed() {
			p, err := newPlan(reflect.StructOf([]reflect.StructField{
				{Name: "V", Type: typ, Tag: reflect.StructTag(tagName + ":" + strconv.Quote(tag))},
			}))
			if err != nil {
				continue
			}
			checkValue(t, p, typ, value, detail)
		}
	})
}

// checkValue fills the only field of p, of type typ, from value.
func checkValue(t *testing.T, p plan, typ reflect.Type, value, detail string) {
	t.Helper()
	key := p.keys()[0]
	ref, err := secrets.ParseRef(key)
	if err != nil {
		t.Fatalf("%q is not a key: %v", key, err)
	}
	backend := secretstest.NewBackend(nil)
	backend.Set(ref.Path, value)
	if ref.Version != "" {
		backend.SetVersion(ref.Path, ref.Version, value)
	}
	client, err := secrets.New(backend)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	found, err := client.GetMany(t.Context(), key)
	known := err == nil
	target := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "V", Type: typ}})).Elem()
	err = p.fill(target, found, err)
	switch {
	case err == nil:
	case known && detail != "" && err.Error() == prefix+"V ("+key+"): fake: malformed: "+detail:
	case known && !strings.Contains(err.Error(), "fake: malformed: the "):
		t.Errorf("%v: %v", typ, err)
	case len(value) >= 16 && strings.Contains(err.Error(), value) && !strings.Contains(key, value):
		t.Errorf("%v: the error quotes the value %q: %v", typ, value, err)
	}
}
