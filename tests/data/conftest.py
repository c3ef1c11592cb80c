from training_fixtures import labeled, policy, text_policy_path  # noqa: F401
