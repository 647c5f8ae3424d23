package diagnose

import "testing"

// TestOneKindIsEnoughToAskTheWay: where one configuration is missing, what the other leads to is asked all the same.
func TestOneKindIsEnoughToAskTheWay(t *testing.T) {
	t.Parallel()
	const mutating, validating = "MutatingWebhookConfiguration/0-holdfast", "ValidatingWebhookConfiguration/holdfast"
	asked := map[string]string{"HF206": "failed", "HF210": "passed", "HF211": "passed", "HF212": "not-applicable", "HF213": "passed", "HF214": "skipped HF206", "HF215": "skipped HF206"}
	not := map[string]string{"HF206": "failed"}
	for _, code := range []string{"HF210", "HF211", "HF212", "HF213", "HF214", "HF215"} {
		not[code] = "skipped HF206"
	}
	for name, c := range map[string]struct {
		gone string
		want map[string]string
	}{
		"mutating":   {mutating, asked},
		"validating": {validating, asked},
		"both":       {mutating + ", " + validating, not},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCase(t, map[string]string{"change.yaml": "delete: [" + c.gone + "]\n"}, newSigner(t, "ours"), newSigner(t, "other"))
			got := outcome(Run(t.Context(), s))
			for code, want := range c.want {
				if got[code] != want {
					t.Errorf("%s: got %s, want %s", code, got[code], want)
				}
			}
		})
	}
}
