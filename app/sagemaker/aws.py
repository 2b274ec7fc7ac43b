"""Arguments that mean something to AWS alone: accepted, ignored, and named once in a warning."""

import warnings
from collections.abc import Mapping
from typing import Any

KNOWN = frozenset(
    # A line for each would be a screenful.
    """
    accelerator_type async_inference_config attribute_names boto_session callback
    checkpoint_local_path checkpoint_s3_uri code_location compiler_config component_name compression
    container_arguments container_entry_point container_log_level
    container_startup_health_check_timeout content_type custom_attributes data_capture_config
    debugger_hook_config default_bucket default_bucket_prefix dependencies
    disable_output_compression disable_profiler distribution enable_infra_check
    enable_network_isolation enable_remote_debug enable_sagemaker_metrics
    enable_session_tag_chaining encrypt_inter_container_traffic end_time endpoint_logging
    endpoint_type estimator_cls estimator_kwargs experiment_config explainer_config extra_args
    framework_version git_config hub_access_config image_uri include_cls_metadata
    inference_ami_version inference_id inference_recommendation_id input_mode instance_groups
    instance_type job_details keep_alive_period_in_seconds kms_key managed_instance_scaling
    max_retry_attempts max_run max_wait model_access_config model_channel_name
    model_data_download_timeout model_name model_reference_arn model_uri output_kms_key output_path
    period profiler_config py_version recipe_overrides record_wrapping resources role routing_config
    rules s3_data_type sagemaker_client sagemaker_config sagemaker_featurestore_runtime_client
    sagemaker_metrics_client sagemaker_runtime_client security_group_ids serverless_inference_config
    session_id shuffle_config source_dir start_time subnets tags target_attribute_name target_model
    target_variant tensorboard_output_config training_image_config training_recipe
    training_repository_access_mode training_repository_credentials_provider_arn use_spot_instances
    volume_kms_key volume_size vpc_config
    """.split()  # noqa: SIM905  # a list has one a line
)
"""Arguments of SageMaker's SDK that change nothing outside AWS."""

_warned: set[str] = set()


def ignore(arguments: Mapping[str, Any], *, stacklevel: int = 3) -> None:
    """Warn once of each argument that is given.

    Raises:
        TypeError: SageMaker has no argument of that name either.
    """
    for name in arguments:
        if name not in KNOWN:
            raise TypeError(f"unexpected argument {name!r}")
    new = [name for name, value in arguments.items() if value and name not in _warned]
    if new:
        _warned.update(new)
        warning = f"{', '.join(new)}: ignored, because only AWS uses it"
        warnings.warn(warning, UserWarning, stacklevel=stacklevel)


def warn_once(sentence: str) -> None:
    """Warn of a difference from SageMaker, the first time that it matters."""
    if sentence not in _warned:
        _warned.add(sentence)
        warnings.warn(sentence, UserWarning, stacklevel=4)
