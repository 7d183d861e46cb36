import numpy as np

from mmconvnext.datasets import Synthetic


def test_samples_are_noise_with_labels_in_turn_the_same_every_time():
    first, second = (Synthetic(num_classes=3, num_samples=5, image_size=(4, 6)) for _ in range(2))
    infos = [first.get_data_info(i) for i in range(5)]
    assert [info['gt_label'] for info in infos] == [0, 1, 2, 0, 1]
    assert infos[0]['img'].shape == (4, 6, 3)
    assert not np.array_equal(infos[0]['img'], infos[3]['img'])
    np.testing.assert_array_equal(infos[2]['img'], second.get_data_info(2)['img'])
