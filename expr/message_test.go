package expr

import (
	"strings"
	"testing"

	"github.com/shoal-fabric/shoal"
)

func TestFilter(t *testing.T) {
	order := Letter{Body: []byte(`{"amount": 120, "from": {"city": "Oslo"}, "tags": ["new"]}`), Key: "k7", Publisher: "P"}
	text := Letter{Body: []byte("hello, \xff"), Data: ""}
	for src, want := range map[string][2]bool{ // of the order, of the text
		"":                               {true, true},
		"json.amount > 100":              {true, false},
		"json.amount > 120.5":            {false, false},
		`json.from.city == "Oslo"`:       {true, false},
		`"new" in json.tags`:             {true, false},
		"json == null":                   {false, true},
		`body.startsWith("hello")`:       {false, true},
		`body.matches("^he.*o")`:         {false, true},
		"size < 10":                      {false, true},
		`key == "k7" && publisher=="P"`:  {true, false},
		`has(json.none) || key == "k7"`:  {true, false},
		"json.none > 1":                  {false, false},
		`json.tags.exists(t, t=="new")`:  {true, false},
		`!(json.amount > 100)`:           {false, false},
		`json.from.city`:                 {false, false},
		`data != "" || json.amount==120`: {true, false},
	} {
		f, err := CompileFilter(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		for i, l := range []*Letter{&order, &text} {
			if got := f.Holds(l); got != want[i] {
				t.Errorf("%s: %v of message %d", src, got, i)
			}
		}
	}
	for src, want := range map[string]string{
		"amount > 100":                           "column 1: undeclared reference to 'amount'",
		"size >":                                 "column",
		"size":                                   "type int, not true or false",
		"[1].map(x,[1].map(y,[1].map(z,x)))==[]": "column",
	} {
		if _, err := CompileFilter(src); shoal.KindOf(err) != shoal.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", src, err, want)
		}
	}
}

func TestKey(t *testing.T) {
	l := Letter{Body: []byte(`{"user": "ada", "n": 7}`), Key: "k", Publisher: "P"}
	for src, want := range map[string]string{"": "k", "json.user": "ada", "json.n": "7", "json.none": "k", "publisher + key": "Pk"} {
		k, err := CompileKey(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got := k.Of(&l); got != want {
			t.Errorf("%s: %q", src, got)
		}
	}
	if _, err := CompileKey("size > 1"); shoal.KindOf(err) != shoal.Invalid {
		t.Errorf("a key that is true or false: %v", err)
	}
}
