"""Every AWS service limit that the project relies on, once, with unit, source and date.

Sources, all read 2026-11-21:
  [lambda]  docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
  [sfn]     docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
  [scaling] docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html, "Concurrency scaling rate"
  [s3]      docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
  [api]     the service model in botocore 1.44.5
"""

LAMBDA_MIN_MEMORY_MB = 128  # [lambda] [api]
LAMBDA_MAX_MEMORY_MB = 10_240  # [lambda]; the API's 32,768 is for Managed Instances only
LAMBDA_NEW_ACCOUNT_MEMORY_MB = 3_008  # [lambda] "reduced" in new accounts; the figure: CloudFormation's message in
# github.com/awslabs/genai-bedrock-agent-chatbot/issues/4, read 2026-11-24
LAMBDA_MAX_TIMEOUT_S = 900  # [lambda] [api]
LAMBDA_MEMORY_PER_VCPU_MB = 1_769  # [lambda] one full vCPU's share of time
LAMBDA_MAX_VCPUS = 6  # [lambda] at 10,240 MB
LAMBDA_MIN_TMP_MB = 512  # [lambda]
LAMBDA_MAX_TMP_MB = 10_240  # [lambda]
LAMBDA_ENVIRONMENT_BYTES = 4_096  # [lambda] all variables together
LAMBDA_CODE_BYTES = 250 * 2**20  # [lambda] a zip, unpacked
LAMBDA_IMAGE_BYTES = 10 * 10**9  # [lambda] "10 GB", uncompressed, all layers; the stricter reading of GB
LAMBDA_SYNC_PAYLOAD_BYTES = 6_291_556  # [lambda] 6 MB request or response
LAMBDA_ACCOUNT_CONCURRENCY = 1_000  # [lambda] default quota per region
LAMBDA_UNRESERVED_CONCURRENCY = 100  # [lambda] must stay unreserved
LAMBDA_RAMP_ENVIRONMENTS = 1_000  # [scaling] that one function may start every LAMBDA_RAMP_S
LAMBDA_RAMP_S = 10

S3_PUTS_PER_S = 3_500  # [s3] PUT, COPY, POST, DELETE; at least, per partitioned prefix: a new bucket is one
S3_GETS_PER_S = 5_500  # [s3] GET, HEAD; likewise

STATES_PAYLOAD_BYTES = 262_144  # [sfn] input or output of a state
STATES_HISTORY_EVENTS = 25_000  # [sfn] per execution of a standard workflow
STATES_EXECUTION_S = 31_536_000  # [sfn] one year: lifetime of a standard execution
STATES_INLINE_MAP_CONCURRENCY = 40  # [sfn]
STATES_NAME_CHARACTERS = 80  # [sfn]
STATES_ARRAY_RANGE_ITEMS = 1_000  # [sfn] States.ArrayRange
