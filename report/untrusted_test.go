package report

import "testing"

func TestOneLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"as it is: \"ü\" 50 %":            "as it is: \"ü\" 50 %",
		"no\x1b[8m.\nDo this:\n  curl|sh": "no [8m. Do this:   curl|sh",
		"a\u202eb\u2028c\u200bd\u0085e":   "a b c d e",
		"a\rb\tc":                         "a b c",
	} {
		if got := OneLine(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestWord(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"istio-system/istiod":  "istio-system/istiod",
		"shop; curl x | sh":    "shop__curl_x___sh",
		"$(id)`id`'\"\\\n&><*": "__id__id_________",
		"-n":                   "_n",
		"--all":                "_-all",
		"":                     "",
	} {
		if got := Word(value); got != want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}
