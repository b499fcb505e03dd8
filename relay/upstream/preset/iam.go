package preset

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// IAM is the word for passwords that are made of the secret access key of an IAM
// user.
const IAM = "iam"

// IAMPassword is the SMTP password of Amazon SES in a region, made of a secret
// access key as "Obtaining Amazon SES SMTP credentials" of the Amazon SES Developer
// Guide has it.
func IAMPassword(secretKey, region string) string {
	key := []byte("AWS4" + secretKey)
	for _, part := range []string{"11111111", region, "ses", "aws4_request", "SendRawEmail"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{4}, key...))
}
